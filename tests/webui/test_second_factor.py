"""The second factor: set up, asked for, replaced by a recovery code, and removed."""

from __future__ import annotations

import os
import re

import pytest
from pyotp.totp import TOTP
from typer.testing import CliRunner

from tests.webui.stand import ORIGIN, OWNER, PASSWORD, Browser, Stand
from webui.accounts.back_off import FREE_TRIES
from webui.accounts.second_factors import RECOVERY_CODES, WORD_HOLDS_SECONDS, LostDevice, SecondFactors
from webui.accounts.users import Refused
from webui.command import app
from webui.views import second_factor


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
    assert stand.audit[:3] == [(OWNER, "login", True), (OWNER, "login", False), (OWNER, "login.password", True)]


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
    assert (
        f"a recovery code, {RECOVERY_CODES - 1} are left" in stand.services.audit.find("recovery").entries[0].sentence
    )


def test_codes_are_taken_as_people_type_them(stand: Stand, device: Device) -> None:
    code = device.code
    for given in (device.recovery_codes[0].replace("-", ""), f"{code[:3]} {code[3:]}"):
        browser = stand.browser()
        give_password(browser)
        assert give_code(browser, given) == 303


def test_what_is_kept_of_recovery_codes_opens_nothing(stand: Stand, device: Device) -> None:
    connection = stand.services.database.engine.raw_connection()
    kept = [row[0] for row in connection.cursor().execute("SELECT code_sha256 FROM recovery_codes")]
    connection.close()
    assert len(kept) == RECOVERY_CODES and not {code.replace("-", "") for code in device.recovery_codes} & set(kept)
    browser = stand.browser()
    give_password(browser)
    assert [give_code(browser, one) for one in (kept[0], kept[0][:40])] == [401, 401]


def test_wrong_codes_make_a_stranger_wait_though_the_password_is_right(stand: Stand, device: Device) -> None:
    """A right password does not forgive the wrong codes before it."""
    stranger = stand.browser()
    for _ in range(FREE_TRIES):
        give_password(stranger)
        assert give_code(stranger, "no code") == 401
    assert give_code(stranger, device.code) == 429


def test_strangers_who_know_the_password_wait_together_and_the_owner_does_not(stand: Stand, device: Device) -> None:
    """As many addresses as one likes make no more tries; a browser that has logged in before is counted by itself."""
    known = stand.browser()
    give_password(known)
    assert give_code(known, device.code) == 303
    known.post("/logout")
    for number in range(FREE_TRIES):
        stranger = stand.browser()
        stranger.client.environ_base["REMOTE_ADDR"] = f"192.0.2.{number}"
        give_password(stranger)
        assert give_code(stranger, "000000") == 401
    another = stand.browser()
    another.client.environ_base["REMOTE_ADDR"] = "192.0.2.99"
    give_password(another)
    assert give_code(another, device.code) == 429
    give_password(known)
    assert give_code(known, device.code) == 303


def test_who_was_halfway_with_the_old_password_begins_again(stand: Stand, owner: Browser, device: Device) -> None:
    thief, new = stand.browser(), "another four words here"
    give_password(thief)
    assert owner.post("/account/password", present=PASSWORD, new=new, again=new).status_code == 303
    answer = thief.post("/login/code", code=device.code)
    assert (answer.status_code, answer.location) == (303, "/login")


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


def test_the_command_lines_word_is_about_the_factor_of_that_time(
    stand: Stand, owner: Browser, clock: list[float]
) -> None:
    """Said before a factor was set up, or long ago, it must not open a door."""
    word = LostDevice(stand.instance.console_dir)
    word.say()
    device = Device(owner, clock)
    assert give_password(stand.browser()) == "/login/code"
    word.say()
    long_ago = word._path.stat().st_mtime - WORD_HOLDS_SECONDS
    os.utime(word._path, (long_ago, long_ago))
    browser = stand.browser()
    assert give_password(browser) == "/login/code"
    assert give_code(browser, device.code) == 303


def test_what_is_not_confirmed_asks_for_nothing(stand: Stand, owner: Browser, clock: list[float]) -> None:
    owner.post("/account/second-factor/propose", present=PASSWORD)
    assert owner.post("/account/second-factor/confirm", code="000000").status_code == 400
    assert give_password(stand.browser()) == "/"


def test_it_needs_the_password_to_begin_and_begins_once(stand: Stand, owner: Browser, device: Device) -> None:
    assert owner.post("/account/second-factor/propose", present="wrong").status_code == 400
    factors: SecondFactors = stand.services.second_factors
    with pytest.raises(Refused, match="already"):
        factors.propose(1)


def test_a_secret_that_was_left_unconfirmed_is_nobody_elses(
    stand: Stand, owner: Browser, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who finds the browser open ten minutes later sees no secret and makes it no factor: that took the password."""
    owner.post("/account/second-factor/propose", present=PASSWORD)
    secret = stand.services.second_factors.proposed(1)
    assert secret and secret in owner.get("/account/second-factor/").text
    monkeypatch.setattr(second_factor, "CONSENT_SECONDS", 0.0)
    owner.post("/account/second-factor/propose", present=PASSWORD)
    secret = stand.services.second_factors.proposed(1)
    assert secret and secret not in owner.get("/account/second-factor/").text
    answer = owner.post("/account/second-factor/confirm", code=TOTP(secret).at(int(clock[0])))
    assert answer.status_code == 303
    assert not stand.services.second_factors.is_on(1)


def test_every_step_of_it_is_in_the_audit_log(stand: Stand, owner: Browser, device: Device) -> None:
    owner.post("/account/second-factor/remove", present="wrong")
    owner.post("/account/second-factor/remove", present=PASSWORD)
    done = [(action, was_done) for _, action, was_done in stand.audit]
    assert done == [
        ("second-factor.remove", True),
        ("second-factor.remove", False),
        ("second-factor.add", True),
        ("second-factor.propose", True),
        ("claim", True),
    ]


def make_key(browser: Browser, name: str, scope: str, code: str = "") -> int:
    return browser.post("/keys/", name=name, scopes=scope, days="90", code=code).status_code


def test_an_admin_key_needs_a_code_and_another_key_does_not(stand: Stand, owner: Browser, device: Device) -> None:
    """A key that opens the console's API opens it without a device."""
    assert make_key(owner, "robot", "admin") == 400
    assert make_key(owner, "robot", "admin", "000000") == 400
    assert stand.audit[0] == (OWNER, "key.add", False)
    assert make_key(owner, "client", "inference") == 200
    code = device.code
    assert make_key(owner, "robot", "admin", code) == 200
    assert make_key(owner, "another", "admin", code) == 400
    assert make_key(owner, "another", "admin", device.recovery_codes[0]) == 200


def test_wrong_codes_for_keys_make_this_session_wait(stand: Stand, owner: Browser, device: Device) -> None:
    for _ in range(FREE_TRIES):
        assert make_key(owner, "robot", "admin", "000000") == 400
    assert make_key(owner, "robot", "admin", device.code) == 400
    assert make_key(owner, "client", "inference") == 200


def test_without_a_second_factor_the_session_is_enough(stand: Stand, owner: Browser) -> None:
    assert 'name="code"' not in owner.get("/keys/").text
    assert make_key(owner, "robot", "admin") == 200


def test_the_api_asks_a_person_for_a_code_and_lets_no_program_make_an_admin_key(
    stand: Stand, owner: Browser, device: Device
) -> None:
    def ask(body: dict, **headers: str) -> int:
        place = {"method": "POST", "base_url": ORIGIN, "headers": {"Origin": ORIGIN} | headers}
        return owner.client.open("/api/v1/keys", json=body, **place).status_code

    wish = {"name": "robot", "scopes": ["inference", "admin"]}
    token = {"X-CSRFToken": owner.csrf_token}
    assert ask(wish, **token) == 403
    assert ask(wish | {"code": device.code}, **token) == 200
    made = owner.post("/keys/", name="program", scopes="admin", days="90", code=device.code).text
    found = re.search(r'id="new-key"[^>]*>([^<]+)<', made)
    assert found
    bearer = {"Authorization": f"Bearer {found[1]}"}
    assert ask(wish | {"name": "heir", "code": device.code}, **bearer) == 403
    assert ask({"name": "client"}, **bearer) == 200
