"""A log-in at the console, as a browser makes it; what it gives is handed to whoever watches."""

from __future__ import annotations

import re
from typing import Self

import httpx
import msgspec

from engine.errors import SemiPDError

_TOKEN = re.compile(r'name="csrf-token" content="([^"]+)"')
ANSWER_SECONDS = 30.0


class NoSession(SemiPDError):
    """The console let nobody in, and the sentence says why."""


class Session(msgspec.Struct, frozen=True):
    """`cookies` open the console at `url`."""

    url: str
    cookies: dict[str, str]

    @classmethod
    def begin(cls, url: str, name: str, password: str) -> Self:
        """Raises `NoSession`."""
        url = url.rstrip("/")
        try:
            with httpx.Client(base_url=url, timeout=ANSWER_SECONDS) as client:
                form = {"csrf_token": csrf_token(client.get("/login").text), "name": name, "password": password}
                answer = client.post("/login", data=form, headers={"Origin": url})
                cookies = dict(client.cookies)
        except httpx.HTTPError as error:
            raise NoSession(f"The console at {url} does not answer: {error}.") from error
        if answer.headers.get("Location") != "/":
            raise NoSession(f"The console at {url} did not let {name} in with the password alone.")
        return cls(url, cookies)


def csrf_token(page: str) -> str:
    """Raises `NoSession` for a page that is none of the console's."""
    found = _TOKEN.search(page)
    if found is None:
        raise NoSession("What answers there is no console: its log-in page has no token.")
    return found[1]
