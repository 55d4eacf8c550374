"""First run, log-in, log-out: who gets in, and with what."""

from __future__ import annotations

import stat

import pytest

from tests.webui.stand import OWNER, PASSWORD, Browser, Stand
from webui.accounts.back_off import FREE_TRIES
from webui.views.known_browser import network_of


def log_in(browser: Browser, password: str = PASSWORD, name: str = OWNER) -> int:
    return browser.post("/login", name=name, password=password).status_code


def test_a_new_console_asks_to_be_claimed(stand: Stand) -> None:
    shown = stand.browser().get("/")
    assert (shown.status_code, shown.location) == (302, "/first-run")


def test_only_the_token_claims_it(stand: Stand) -> None:
    stand.services.setup_token.renew()
    answer = stand.browser().post("/first-run", token="abcde", name=OWNER, password=PASSWORD, again=PASSWORD)
    assert answer.status_code == 401
    assert not stand.services.users.is_claimed
    assert stand.audit == [(OWNER, "claim", False)]


def test_the_token_works_once(stand: Stand) -> None:
    stand.owner()
    assert stand.services.setup_token.value is None
    assert stand.browser().get("/first-run").location == "/login"
    again = stand.browser().post("/first-run", token="", name="eve", password=PASSWORD, again=PASSWORD)
    assert again.status_code == 400


@pytest.mark.parametrize("password", ["short", "aaaaaaaaaaaaaaaa", f"{OWNER} and more words", "x" * 300])
def test_bad_passwords_are_refused_with_a_sentence(stand: Stand, password: str) -> None:
    token = stand.services.setup_token.renew()
    answer = stand.browser().post("/first-run", token=token, name=OWNER, password=password, again=password)
    assert answer.status_code == 400
    assert not stand.services.users.is_claimed


def test_a_new_token_sets_a_new_password_and_ends_every_session(stand: Stand) -> None:
    before = stand.owner()
    after = stand.owner()
    assert after.get("/").status_code == 200
    assert before.get("/").status_code == 302


def test_the_session_is_another_after_each_log_in(stand: Stand) -> None:
    owner = stand.owner()
    first = owner.client.get_cookie(stand.services.config.cookie_name("session"), domain="localhost")
    owner.post("/logout")
    assert log_in(owner) == 303
    second = owner.client.get_cookie(stand.services.config.cookie_name("session"), domain="localhost")
    assert first is not None and second is not None and first.value != second.value


def test_a_session_that_was_logged_out_is_worth_nothing(stand: Stand) -> None:
    owner = stand.owner()
    name = stand.services.config.cookie_name("session")
    kept = owner.client.get_cookie(name, domain="localhost")
    assert kept is not None
    owner.post("/logout")
    thief = stand.browser()
    thief.client.set_cookie(name, kept.value, domain="localhost")
    assert thief.get("/").status_code == 302


def test_wrong_passwords_and_names_look_the_same(stand: Stand) -> None:
    stand.owner()
    stranger = stand.browser()
    answers = [stranger.post("/login", name=name, password="wrong") for name in (OWNER, "nobody")]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert "Name or password are wrong." in answers[0].text


def test_a_stranger_waits_after_wrong_passwords_and_the_owner_does_not(stand: Stand) -> None:
    owner, stranger = stand.owner(), stand.browser()
    owner.post("/logout")
    assert [log_in(stranger, "wrong") for _ in range(FREE_TRIES + 1)] == [401] * FREE_TRIES + [429]
    assert log_in(stranger) == 429, "even the right password waits there"
    assert log_in(owner) == 303, "the same address, but a browser that is known"


def test_a_changed_password_ends_the_other_sessions(stand: Stand) -> None:
    owner, elsewhere = stand.owner(), stand.browser()
    assert log_in(elsewhere) == 303
    new = "another four words here"
    assert owner.post("/account/password", present="wrong", new=new, again=new).status_code == 400
    assert owner.post("/account/password", present=PASSWORD, new=new, again=new).status_code == 303
    assert owner.get("/").status_code == 200
    assert elsewhere.get("/").status_code == 302
    assert log_in(stand.browser(), new) == 303


def test_one_session_ends_another(stand: Stand) -> None:
    owner, elsewhere = stand.owner(), stand.browser()
    log_in(elsewhere)
    newest = stand.services.sessions.of_user(1)[0]
    owner.post(f"/account/sessions/{newest.id}/end")
    assert elsewhere.get("/").status_code == 302
    assert owner.get("/").status_code == 200


def test_what_is_kept_is_private_and_says_no_password(stand: Stand) -> None:
    stand.owner()
    directory = stand.instance.console_dir
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    for path in directory.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert PASSWORD.encode() not in path.read_bytes()


def test_htmx_is_sent_to_the_log_in_page(stand: Stand) -> None:
    stand.owner()
    answer = stand.browser().get("/processes/table", **{"HX-Request": "true"})
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (204, "/login")


def test_a_flood_of_tries_from_the_same_address_leaves_the_owner_in(stand: Stand) -> None:
    owner, stranger = stand.owner(), stand.browser()
    owner.post("/logout")
    assert [log_in(stranger, "wrong") for _ in range(40)][-1] == 429
    assert log_in(owner) == 303


def test_who_took_a_session_over_waits_with_the_password_too(stand: Stand) -> None:
    owner, new = stand.owner(), "another four words here"
    asked = {"new": new, "again": new}
    for _ in range(FREE_TRIES):
        assert "not right" in owner.post("/account/password", present="wrong", **asked).text
    assert "Too many wrong passwords" in owner.post("/account/password", present=PASSWORD, **asked).text
    assert log_in(stand.browser()) == 303, "others are counted by themselves"


def test_a_network_of_ipv6_is_counted_as_one(stand: Stand) -> None:
    """A line of the internet has 2⁶⁴ addresses to try from."""
    stand.owner()
    for number in range(FREE_TRIES):
        stranger = stand.browser()
        stranger.client.environ_base["REMOTE_ADDR"] = f"2001:db8:1:2::{number}"
        assert log_in(stranger, "wrong") == 401
    for address, status in (("2001:db8:1:2:ffff::1", 429), ("2001:db8:1:3::1", 303)):
        stranger = stand.browser()
        stranger.client.environ_base["REMOTE_ADDR"] = address
        assert log_in(stranger) == status


@pytest.mark.parametrize(
    ("address", "counted"),
    [("192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.7", "192.0.2.7"), ("2001:db8::9", "2001:db8::/64"), ("?", "?")],
)
def test_what_is_counted_of_an_address(address: str, counted: str) -> None:
    assert network_of(address) == counted
