"""`python -m appliance.machine.answering RUNTIME_DIR`: one token, asked for as any client would, or a sentence why not.

An upgrade goes by it: a unit that is up has said so itself, an answer comes from all of them.
"""

from __future__ import annotations

import json
import ssl
import sys
import time
from http import HTTPStatus
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

from appliance.instance import Instance
from engine.config import PortArgs, ServerArgs
from engine.errors import CannotStart
from engine.process import run

PATIENCE_SECONDS = 90.0
"""A group may just be forming, and the answer waits behind those who came before."""
LOOK_SECONDS = 0.5

PROVEN = {HTTPStatus.OK, HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS}
"""Whoever revokes the installation's own key, or has the limit reached, has a gateway that answers all the same."""

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def require_answer(settings: ServerArgs, key: str, deadline: float) -> None:
    """Return when a completion of one token has come. Raises `CannotStart` at `deadline` (monotonic seconds)."""
    said = "nothing was tried"
    while time.monotonic() < deadline:
        said = _ask(settings, key, deadline - time.monotonic())
        if not said:
            return
        time.sleep(LOOK_SECONDS)
    raise CannotStart(f"The endpoint did not answer within {PATIENCE_SECONDS:g} s: {said}.")


def loopback_url(settings: ServerArgs) -> str:
    """Where this machine itself reaches the endpoint."""
    host = EVERYWHERE.get(settings.host, settings.host)
    return f"{settings.url_scheme}://{f'[{host}]' if ':' in host else host}:{settings.port}"


def _ask(settings: ServerArgs, key: str, seconds: float) -> str:
    body = json.dumps({"model": settings.model_name, "prompt": "1", "max_tokens": 1}).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    opener = build_opener(ProxyHandler({}), HTTPSHandler(context=_unverified()))
    try:
        with opener.open(Request(f"{loopback_url(settings)}/v1/completions", body, headers), timeout=seconds):
            return ""
    except HTTPError as error:
        return "" if error.code in PROVEN else f"HTTP {error.code}, {error.read(500).decode(errors='replace')}"
    except (URLError, OSError) as error:
        return str(error)


def _unverified() -> ssl.SSLContext:
    """Asked on this machine by whatever name: whether others trust the certificate is not the question."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def main() -> None:
    settings = PortArgs(Path(sys.argv[1])).read_settings()
    require_answer(settings, Instance.of_user().api_key(), time.monotonic() + PATIENCE_SECONDS)


if __name__ == "__main__":
    run(main)
