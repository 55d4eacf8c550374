"""`semi-pd console`: what helps somebody who cannot get in."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from tests.webui.stand import OWNER, Stand
from webui.command import app


@pytest.fixture(autouse=True)
def _home(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(stand.instance.state_dir.parent))


def test_the_token_of_a_new_console_is_printed_again(stand: Stand) -> None:
    token = stand.services.setup_token.renew()
    assert CliRunner().invoke(app, ["token"]).stdout.strip() == token


def test_a_claimed_console_has_none(stand: Stand) -> None:
    stand.owner()
    told = CliRunner().invoke(app, ["token"])
    assert told.exit_code == 1
    assert "reset-password" in told.stdout


def test_a_lost_password_is_replaced_while_the_console_runs(stand: Stand) -> None:
    stand.owner()
    token = CliRunner().invoke(app, ["reset-password"]).stdout.strip()
    browser, new = stand.browser(), "words that nobody else had"
    assert browser.post("/first-run", token=token, name=OWNER, password=new, again=new).status_code == 303
    assert browser.get("/").status_code == 200
