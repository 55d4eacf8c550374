"""The second factor: set up, asked for, replaced by a recovery code, and removed."""

from __future__ import annotations

import re

import pytest
from pyotp.totp import TOTP
from typer.testing import CliRunner

from tests.webui.stand import OWNER, PASSWORD, Browser, Stand
from webui.accounts.back_off import FREE_TRIES
from webui.accounts.second_factors import RECOVERY_CODES, SecondFactors
from webui.accounts.users import Refused
from webui.command import app


@pytest.fixture
def clock(stand: Stand) -> list[float]:
    """Seconds since the epoch, as the second factors see them."""
    now = [1_800_000_000.0]
    stand.services.second_factors._clock = lambda: now[0]
    return now


@pytest.fixture
def device(stand: Stand, owner: Browser, clock: list[float]) -> Device:
    return Device(owner, clock)


class Device:
    """The owner's, after the set-up; it shows a code that was not used yet."""

    def __init__(self, owner: Browser, clock: list[float]):
        self._clock = clock
        assert owner.post("/account/second-factor/propose", present=PASSWORD).status_code == 303
        shown = owner.get("/account/second-factor/").text
        assert "<svg" in shown and "style=" not in shown
        found = re.search(r'id="secret">([A-Z2-7]+)<', shown)
        assert found
        self._totp = TOTP(found[1])
        confirmed = owner.post("/account/second-factor/confirm", code=self.code)
        assert confirmed.status_code == 200, confirmed.text
        listed = re.search(r'id="codes">([^<]+)<', confirmed.text)
        assert listed
        self.recovery_codes = listed[1].split()

    @property
    def code(self) -> str:
        self._clock[0] += 30
        return self._totp.at(int(self._clock[0]))


def give_password(browser: Browser, password: str = PASSWORD) -> str | None:
    return browser.post("/login", name=OWNER, password=password).location


def give_code(browser: Browser, code: str) -> int:
    return browser.post("/login/code", code=code).status_code


def test_the_password_alone_opens_no_more(stand: Stand, device: Device) -> None:
    browser = stand.browser()
    assert give_password(browser) == "/login/code"
    assert browser.get("/").status_code == 302
    assert give_code(browser, "000000") == 401
    assert browser.get("/").status_code == 302
    assert give_code(browser, device.code) == 303
    assert browser.get("/").status_code == 200
    assert stand.audit[:2] == [(OWNER, "login", True), (OWNER, "login", False)]


def test_a_code_alone_opens_nothing(stand: Stand, device: Device) -> None:
    browser = stand.browser()
    assert browser.post("/login/code", code=device.code).location == "/login"
    assert give_password(browser, "wrong") is None
    assert browser.post("/login/code", code=device.code).location == "/login"
    assert browser.get("/").status_code == 302


def test_a_code_opens_once(stand: Stand, device: Device) -> None:
    code = device.code
    for browser, status in ((stand.browser(), 303), (stand.browser(), 401)):
        give_password(browser)
        assert give_code(browser, code) == status


def test_a_recovery_code_opens_once(stand: Stand, device: Device) -> None:
    assert len(set(device.recovery_codes)) == RECOVERY_CODES
    for browser, status in ((stand.browser(), 303), (stand.browser(), 401)):
        give_password(browser)
        assert give_code(browser, device.recovery_codes[0].upper()) == status


def test_wrong_codes_make_a_stranger_wait_though_the_password_is_right(stand: Stand, device: Device) -> None:
    """A right password does not forgive the wrong codes before it."""
    stranger = stand.browser()
    for _ in range(FREE_TRIES):
        give_password(stranger)
        assert give_code(stranger, "no code") == 401
    assert give_code(stranger, device.code) == 429


def test_it_is_removed_with_the_password_only(stand: Stand, owner: Browser, device: Device) -> None:
    assert owner.post("/account/second-factor/remove", present="wrong").status_code == 400
    assert give_password(stand.browser()) == "/login/code"
    assert owner.post("/account/second-factor/remove", present=PASSWORD).status_code == 303
    assert give_password(stand.browser()) == "/"
    assert ("ada", "second-factor.remove", True) in stand.audit


def test_the_command_line_helps_who_lost_the_device(
    stand: Stand, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(stand.instance.state_dir.parent))
    assert CliRunner().invoke(app, ["remove-second-factor"]).exit_code == 0
    assert give_password(stand.browser(), "wrong") is None
    assert give_password(stand.browser()) == "/"
    assert ("command line", "second-factor.remove", True) in stand.audit
    assert not stand.services.second_factors.is_on(1)


def test_what_is_not_confirmed_asks_for_nothing(stand: Stand, owner: Browser, clock: list[float]) -> None:
    owner.post("/account/second-factor/propose", present=PASSWORD)
    assert owner.post("/account/second-factor/confirm", code="000000").status_code == 400
    assert give_password(stand.browser()) == "/"


def test_it_needs_the_password_to_begin_and_begins_once(stand: Stand, owner: Browser, device: Device) -> None:
    assert owner.post("/account/second-factor/propose", present="wrong").status_code == 400
    factors: SecondFactors = stand.services.second_factors
    with pytest.raises(Refused, match="already"):
        factors.propose(1)
