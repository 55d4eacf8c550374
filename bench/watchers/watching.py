"""`python -m bench.watchers.watching`: so many browsers that watch the console until this process' input ends.

A process of its own, so that its work is not the client's that measures. It is told what to do in a line of JSON, says
READY when every browser has seen a few looks, and at the end how many looks each has seen.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence

import httpx
import msgspec
from playwright.async_api import Page, async_playwright

from bench.held_process import READY
from bench.watchers.session import Session

SETTLED_LOOKS = 3
"""After so many a page has drawn its charts, and only renews them."""
LOOK_POLL_SECONDS = 0.2
COUNT_LOOKS = 'window.looks = 0; document.addEventListener("live", () => { window.looks += 1; });'


class Task(msgspec.Struct):
    """`chromium`: the browser's program; empty for streams that nobody draws.

    `in_spare_time`: compute only while nobody else wants to. `processors`: those they have; empty for all.
    """

    session: Session
    browsers: int
    chromium: str = ""
    in_spare_time: bool = False
    processors: tuple[int, ...] = ()


async def watch(task: Task) -> list[int]:
    """Looks that each browser has seen."""
    return await (_draw(task) if task.chromium else _take(task))


async def _take(task: Task) -> list[int]:
    """The console's stream, as it is."""
    looks = [0] * task.browsers
    limits = httpx.Limits(max_connections=task.browsers)
    async with httpx.AsyncClient(cookies=task.session.cookies, limits=limits, timeout=30.0) as client:
        url = f"{task.session.url}/live/stream"
        readers = [asyncio.create_task(_read(client, url, looks, number)) for number in range(task.browsers)]
        await _until_settled(looks, readers)
        await _until_told()
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
    return looks


async def _read(client: httpx.AsyncClient, url: str, looks: list[int], number: int) -> None:
    async with client.stream("GET", url, headers={"Accept": "text/event-stream"}) as answer:
        answer.raise_for_status()
        async for line in answer.aiter_lines():
            looks[number] += line.startswith("data:")


async def _until_settled(looks: list[int], readers: Sequence[asyncio.Task[None]]) -> None:
    while min(looks) < SETTLED_LOOKS:
        for reader in readers:
            if reader.done():
                reader.result()
        await asyncio.sleep(LOOK_POLL_SECONDS)


async def _draw(task: Task) -> list[int]:
    """The overview in Chromium, each page with a profile of its own, as people's are."""
    cookies = [{"name": name, "value": value, "url": task.session.url} for name, value in task.session.cookies.items()]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=task.chromium, args=["--no-sandbox"])
        pages: list[Page] = []
        for _ in range(task.browsers):
            context = await browser.new_context()
            await context.add_cookies(cookies)  # pyright: ignore[reportArgumentType]
            await context.add_init_script(COUNT_LOOKS)
            pages.append(await context.new_page())
            await pages[-1].goto(task.session.url, timeout=120_000)
        while min([await _looks(page) for page in pages]) < SETTLED_LOOKS:
            await asyncio.sleep(LOOK_POLL_SECONDS)
        await _until_told()
        looks = [await _looks(page) for page in pages]
        await browser.close()
    return looks


async def _looks(page: Page) -> int:
    """Asked again and again: the console's policy lets nothing wait within its pages that would be made of a text."""
    return await page.evaluate("window.looks")


async def _until_told() -> None:
    print(READY, flush=True)
    await asyncio.to_thread(sys.stdin.read)


def keep_apart(task: Task) -> None:
    """When and where this process may compute, and those it starts."""
    if task.in_spare_time:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    if task.processors:
        os.sched_setaffinity(0, task.processors)


def main() -> None:
    task = msgspec.json.decode(sys.stdin.readline(), type=Task)
    keep_apart(task)
    print(msgspec.json.encode(asyncio.run(watch(task))).decode(), flush=True)


if __name__ == "__main__":
    main()
