"""Behind proxies that end TLS: so many are believed, and nobody before them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.webui.stand import OWNER, PASSWORD, Stand

OUTSIDE = "box.example.org"
FORWARDED = {"X-Forwarded-For": "6.6.6.6, 192.0.2.7", "X-Forwarded-Proto": "https", "X-Forwarded-Host": OUTSIDE}


@pytest.fixture
def behind_one(runtime_dir: Path) -> Iterator[Stand]:
    with Stand(runtime_dir, console_proxies=1, console_hosts=(OUTSIDE,)) as stand:
        yield stand


def claim(stand: Stand, **forwarded: str) -> tuple[int, str]:
    """The status, and the cookies."""
    client, headers = stand.app.test_client(), FORWARDED | forwarded
    page = client.get("/first-run", headers=headers).text
    form = {
        "csrf_token": page.split('name="csrf-token" content="')[1].split('"')[0],
        "token": stand.services.setup_token.renew(),
        "name": OWNER,
        "password": PASSWORD,
        "again": PASSWORD,
    }
    answer = client.post("/first-run", data=form, headers=headers | {"Origin": f"https://{OUTSIDE}"})
    return answer.status_code, "\n".join(answer.headers.getlist("Set-Cookie"))


def test_the_last_proxy_is_believed_and_what_the_client_wrote_is_not(behind_one: Stand) -> None:
    status, cookies = claim(behind_one)
    assert status == 303
    assert all(cookie.startswith("__Host-") and "Secure" in cookie for cookie in cookies.splitlines())
    assert behind_one.services.audit.find().entries[0].address == "192.0.2.7"


def test_a_name_that_is_not_trusted_is_refused_whoever_forwards_it(behind_one: Stand) -> None:
    answer = behind_one.app.test_client().get("/login", headers=FORWARDED | {"X-Forwarded-Host": "evil.example"})
    assert answer.status_code == 400


def test_without_proxies_nothing_forwarded_is_believed(stand: Stand) -> None:
    stand.owner()
    answer = stand.app.test_client().post("/login", headers={**FORWARDED, "Origin": f"https://{OUTSIDE}"})
    assert answer.status_code == 403, "the origin is not this console's"
    stand.browser().client.get("/login", headers=FORWARDED)
    assert "Strict-Transport-Security" not in stand.browser().get("/login").headers
