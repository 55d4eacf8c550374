"""Every page, for somebody who is logged in and for somebody who is not."""

from __future__ import annotations

import pytest

from tests.webui.stand import Browser, Stand

PAGES = ("/", "/slo/", "/split/", "/playground/", "/processes/", "/logs/", "/keys/", "/health/", "/audit/", "/account/")
PAGES += ("/account/second-factor/",)


@pytest.mark.parametrize("path", PAGES)
def test_the_owner_sees_each_page(owner: Browser, path: str) -> None:
    shown = owner.get(path)
    assert shown.status_code == 200
    assert "<h1>" in shown.text


@pytest.mark.parametrize("path", [*PAGES, "/history", "/live/stream", "/logs/download", "/audit/export.csv"])
def test_a_stranger_sees_none(stand: Stand, path: str) -> None:
    stand.owner()
    assert stand.browser().get(path, Accept="text/html").status_code == 302


def test_every_route_is_closed_or_known_to_be_open(stand: Stand) -> None:
    stand.owner()
    open_to_all = {"static", "login.page", "login.log_in", "first_run.page", "first_run.claim"}
    open_to_all |= {"login_code.page", "login_code.give"}
    for rule in stand.app.url_map.iter_rules():
        if rule.endpoint in open_to_all:
            continue
        path = rule.rule.replace("<name>", "x").replace("<int:session_id>", "1")
        method = next(iter((rule.methods or set()) - {"HEAD", "OPTIONS"}))
        answer = stand.app.test_client().open(path, method=method, headers={"Origin": "http://localhost"})
        assert answer.status_code in (302, 400, 401, 403), f"{method} {path}: {answer.status_code}"
