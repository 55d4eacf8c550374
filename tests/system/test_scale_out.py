"""Two appliances behind SMG: one full, one rotating, one killed, and clients that leave."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.system.appliance import Appliance, ServeProcess, running_appliance, unused_port
from tests.system.crowd import (
    API_KEY,
    LONG,
    QUEUE,
    RUNNING,
    Answer,
    ask,
    full,
    has,
    is_empty,
    new_client,
    running_at,
    until,
)
from tests.system.smg import EXECUTABLE, WHY_SKIPPED, Router, running_router
from tests.system.test_rotation import rotate

pytestmark = [
    pytest.mark.system,
    pytest.mark.long,
    pytest.mark.timeout(600),
    pytest.mark.skipif(EXECUTABLE is None, reason=WHY_SKIPPED),
]


class Site(NamedTuple):
    """Two boxes and the router in front of them."""

    one: Appliance
    other: Appliance
    router: Router


def home_with_key(directory: Path) -> Path:
    """The home of a user whose appliance has the key that all boxes have."""
    state = directory / ".local/state/semi-pd"
    state.mkdir(mode=0o700, parents=True)
    (state / "api-key").write_text(f"{API_KEY}\n")
    (state / "api-key").chmod(0o600)
    return directory


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    options = ("--max-running-requests", str(RUNNING))
    homes = [home_with_key(tmp_path_factory.mktemp(name)) for name in ("one", "other")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEMI_PD_MAX_QUEUED_REQUESTS", str(QUEUE))
        with running_appliance(homes[0], *options) as one, running_appliance(homes[1], *options) as other:
            log = tmp_path_factory.mktemp("smg") / "log"
            with running_router([one.url, other.url], API_KEY, log) as router:
                asyncio.run(until(lambda: router.takes(one.url) and router.takes(other.url), "both taken"))
                yield Site(one, other, router)


def test_the_router_reads_how_loaded_a_box_is_from_its_metrics(site: Site) -> None:
    def is_read() -> bool:
        load = site.router.load(site.one.url)
        return load.get("num_running_reqs") == RUNNING and load.get("num_waiting_reqs") == QUEUE

    async def watch() -> None:
        async with new_client() as client, full(client, site.one):
            await until(is_read, "read")
            assert 0.0 < site.router.load(site.one.url)["token_usage"] <= 1.0

    asyncio.run(watch())


def test_what_a_full_box_refuses_goes_to_the_other(site: Site) -> None:
    async def crowd() -> list[Answer]:
        async with new_client() as client, full(client, site.one):
            return [await ask(client, site.router.url) for _ in range(4)]

    assert [(answer.status, answer.box) for answer in asyncio.run(crowd())] == [(200, site.other.url)] * 4


def test_where_all_are_full_the_client_is_told_when_to_come_back_and_then_is_served(site: Site) -> None:
    """More refusals than the router's circuit breaker would bear: being full must not count as being broken."""

    async def crowd() -> tuple[list[Answer], list[Answer]]:
        async with new_client() as client:
            async with full(client, site.one, site.other):
                refused = await asyncio.gather(*(ask(client, site.router.url) for _ in range(14)))
            return refused, [await ask(client, site.router.url) for _ in range(2)]

    refused, served = asyncio.run(crowd())
    assert all(answer.status == 503 and int(answer.retry_after or 0) >= 1 for answer in refused)
    assert {answer.events[0]["error"]["code"] for answer in refused} == {"overloaded"}
    assert {answer.box for answer in served if answer.status == 200} == {site.one.url, site.other.url}


def test_a_box_that_rotates_behind_the_router_changes_no_token(site: Site) -> None:
    async def stream() -> list[Answer]:
        async with new_client() as client:
            undisturbed = await ask(client, site.one.url, 300)
            streams = [asyncio.create_task(ask(client, site.router.url, 300)) for _ in range(2 * RUNNING)]
            await until(lambda: has(site.one, RUNNING) and has(site.other, RUNNING), "streaming")
            done = await asyncio.to_thread(rotate, site.one, 40, 60, "--new-group", "--reason", "test")
            assert done.returncode == 0, done.stdout + done.stderr
            assert not any(one.done() for one in streams), "it rotated after the streams, which shows nothing"
            return [undisturbed, *await asyncio.gather(*streams)]

    undisturbed, *answers = asyncio.run(stream())
    assert [answer.text for answer in answers] == [undisturbed.text] * len(answers)
    assert {answer.box for answer in answers} == {site.one.url, site.other.url}


def test_the_pages_of_clients_that_leave_the_router_come_back(site: Site) -> None:
    before = aborted(site.one), aborted(site.other)

    async def leave() -> None:
        async with new_client() as client:
            streams = [asyncio.create_task(ask(client, site.router.url, LONG)) for _ in range(2 * RUNNING)]
            await until(lambda: has(site.one, RUNNING) and has(site.other, RUNNING), "streaming")
            for one in streams:
                one.cancel()
            await asyncio.gather(*streams, return_exceptions=True)
            await until(lambda: is_empty(site.one) and is_empty(site.other), "empty")

    asyncio.run(leave())
    assert (aborted(site.one), aborted(site.other)) == (before[0] + RUNNING, before[1] + RUNNING)


def aborted(box: Appliance) -> int:
    """Requests whose client left."""
    metrics = box.client.get("/metrics").text
    found = re.search(r'vllm:request_success_total\{finished_reason="abort",[^}]*\} (\S+)', metrics)
    return int(float(found[1])) if found else 0


def test_a_killed_box_loses_its_own_streams_only_and_is_taken_again_when_it_is_back(site: Site, tmp_path: Path) -> None:
    home, port = home_with_key(tmp_path / "home"), str(unused_port())
    box = f"http://127.0.0.1:{port}"
    first = ServeProcess(home, "--port", port)
    first.wait_until_served()
    with running_router([site.one.url, box], API_KEY, tmp_path / "log") as router:
        asyncio.run(killed(first, site.one, box, router))
        first.end()
        second = ServeProcess(home, "--port", port)
        second.wait_until_served()
        asyncio.run(taken_again(site.one, box, router))
        second.interrupt()
        assert second.end() == 0


async def killed(victim: ServeProcess, survivor: Appliance, box: str, router: Router) -> None:
    async with new_client() as client:
        await until(lambda: router.takes(survivor.url) and router.takes(box), "both taken")
        streams = [asyncio.create_task(ask(client, router.url, LONG)) for _ in range(2)]
        await until(lambda: has(survivor, 1) and running_at(box) == 1, "streaming")
        victim.process.kill()
        await until(lambda: not router.takes(box), "noticed")
        assert [(await ask(client, router.url)).box for _ in range(4)] == [survivor.url] * 4
        answers = {answer.box: answer for answer in await asyncio.gather(*streams)}
        assert answers[survivor.url].events[-1]["choices"][0]["finish_reason"] == "length"
        assert "error" in answers[box].events[-1], "what was lost must not look like an answer"


async def taken_again(survivor: Appliance, box: str, router: Router) -> None:
    await until(lambda: router.takes(box), "taken again")
    async with new_client() as client:
        answers = [await ask(client, router.url) for _ in range(2)]
    assert {answer.box for answer in answers if answer.status == 200} == {survivor.url, box}
