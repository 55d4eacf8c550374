"""A real Chromium before a real appliance: from the first run to the log-out, and a look at every page.

Screenshots of every page, in light, dark and at a phone's width, lie in `.artifacts/console/` afterwards.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright
from pyotp.totp import TOTP

from tests.system.appliance import Appliance, found, running_appliance, unused_port

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
ARTIFACTS = Path(__file__).parent.parent.parent / ".artifacts" / "console"
OWNER, PASSWORD = "ada", "four words that do not belong"
PATIENCE_MS = 60_000
PAGES = {
    "overview": "/",
    "slo": "/slo/",
    "split": "/split/",
    "playground": "/playground/",
    "processes": "/processes/",
    "logs": "/logs/",
    "keys": "/keys/",
    "health": "/health/",
    "audit": "/audit/",
    "account": "/account/",
    "second-factor": "/account/second-factor/",
}
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1400, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1400, "height": 900}},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
}

CUT_OFF = """() => [...document.querySelectorAll('.table-wrap')]
    .filter((table) => table.scrollWidth > table.clientWidth)
    .map((table) => `${table.innerText.slice(0, 60)}: ${table.scrollWidth} > ${table.clientWidth}`)"""
"""A phone scrolls them sideways; elsewhere buttons at a row's end would not be seen."""

pytestmark = [
    pytest.mark.long,
    pytest.mark.system,
    pytest.mark.timeout(600),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    home = tmp_path_factory.mktemp("home")
    with running_appliance(home, "--console-port", str(unused_port())) as appliance:
        yield appliance


@pytest.fixture(scope="module")
def console(appliance: Appliance) -> str:
    return found(r"Console\s+(http://[^,\s]+)", appliance.serve.output)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def logged_in(appliance: Appliance, console: str, chromium: Browser) -> Any:
    """The first run; what the browser keeps of it."""
    page = chromium.new_page(**LOOKS["light"])
    page.goto(console)
    expect(page.get_by_role("heading", name="Make it yours")).to_be_visible()
    look_at(page, "first-run-light")
    page.get_by_label("One-time token").fill(found(r"one-time token (\S+)", appliance.serve.output))
    page.get_by_label("Your name").fill(OWNER)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password again").fill(PASSWORD)
    page.get_by_role("button", name="Claim this console").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    state = page.context.storage_state()
    page.context.close()
    return state


def test_from_first_run_to_log_out(appliance: Appliance, console: str, chromium: Browser, logged_in: Any) -> None:
    page = chromium.new_page(**LOOKS["light"], storage_state=logged_in)
    page.set_default_timeout(PATIENCE_MS)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))

    change_the_targets(page, console)
    watch_a_rotation(page, console, appliance)
    chat(page, console)
    use_and_revoke_a_key(page, console, appliance)
    read_the_audit_log(page, console)
    assert complaints == []
    log_out_and_in(page, console)
    page.context.close()


def change_the_targets(page: Page, console: str) -> None:
    page.goto(f"{console}/slo/")
    page.get_by_label("Time to first token").fill("60000")
    page.get_by_label("Time per token").fill("6000")
    page.get_by_label("Why", exact=True).fill("this box is slow")
    page.get_by_role("button", name="Set the targets").click()
    expect(page.get_by_text("The targets are TTFT 60000 ms, TPOT 6000 ms now.")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="this box is slow")).to_contain_text(f"console:{OWNER}")


def watch_a_rotation(page: Page, console: str, appliance: Appliance) -> None:
    """Started with the mouse, and seen to happen without loading the page again."""
    page.goto(f"{console}/split/")
    page.get_by_role("button", name="Choose 30/70").click()
    page.get_by_label("Why", exact=True).fill("to watch it")
    page.get_by_label("Replace the processes even if this split is in force").check()
    page.get_by_role("button", name="Preview the rotation").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("30/70")
    shot(page, "split-preview-light")
    dialog.get_by_role("button", name="Rotate now").click()
    expect(page.locator("#split-bar")).to_contain_text("30 %", timeout=PATIENCE_MS)
    rotation = page.locator("#timeline").get_by_role("row").filter(has_text="to watch it")
    expect(rotation).to_contain_text("with a new group", timeout=PATIENCE_MS)
    expect(rotation.get_by_text("live", exact=True)).to_be_visible(timeout=PATIENCE_MS)
    expect(rotation).to_contain_text("no stream was under way", timeout=PATIENCE_MS)
    assert appliance.status["split_in_force"] == "30/70"


def chat(page: Page, console: str) -> None:
    page.goto(f"{console}/playground/")
    page.get_by_label("Your message").fill("What does os.path.join do?")
    page.keyboard.press("Enter")
    answer = page.locator(".turn-assistant")
    expect(answer.get_by_text(re.compile(r"TTFT \d+ ms"))).to_be_visible(timeout=PATIENCE_MS)
    expect(answer.get_by_text(re.compile(r"TPOT [\d.]+ ms"))).to_be_visible()
    assert len(answer.locator(".turn-text").inner_text()) > 10
    page.get_by_role("button", name="Python").click()
    expect(page.locator("#code")).to_contain_text("OpenAI(base_url=")
    shot(page, "playground-answer-light")


def use_and_revoke_a_key(page: Page, console: str, appliance: Appliance) -> None:
    page.goto(f"{console}/keys/")
    page.get_by_label("Name", exact=True).fill("browser-test")
    page.get_by_role("button", name="Make the key").click()
    key = page.locator("#new-key").inner_text()
    models = f"{appliance.url}/v1/models"
    assert httpx.get(models, headers={"Authorization": f"Bearer {key}"}).status_code == 200
    page.get_by_role("button", name="Revoke browser-test").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke it").click()
    expect(page.get_by_role("row").filter(has_text="browser-test")).to_contain_text("revoked")
    assert httpx.get(models, headers={"Authorization": f"Bearer {key}"}).status_code == 401


def read_the_audit_log(page: Page, console: str) -> None:
    page.goto(f"{console}/audit/")
    for action in ("claim", "slo.target", "split.rotate", "key.add", "key.revoke"):
        expect(page.locator("tbody").get_by_text(action, exact=True).first).to_be_visible()


def log_out_and_in(page: Page, console: str) -> None:
    kept = page.context.storage_state()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    browser = page.context.browser
    assert browser is not None
    thief = browser.new_page(storage_state=kept)
    thief.goto(console)
    expect(thief.get_by_role("heading", name="Log in")).to_be_visible()
    thief.context.close()
    page.get_by_label("Name", exact=True).fill(OWNER)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


@pytest.mark.parametrize("look", LOOKS)
def test_each_page_looks_right(console: str, chromium: Browser, look: str, logged_in: Any) -> None:
    """Nothing that axe calls serious, nothing wider than the screen, and a picture for whoever wants to look."""
    stranger = chromium.new_page(**LOOKS[look])
    stranger.goto(f"{console}/login")
    look_at(stranger, f"login-{look}")
    stranger.context.close()
    page = owners_page(chromium, console, look)
    for name, path in PAGES.items():
        page.goto(f"{console}{path}")
        expect(page.locator('[data-live="state"]')).to_contain_text("Serving", timeout=PATIENCE_MS)
        look_at(page, f"{name}-{look}")
        assert look == "phone" or page.evaluate(CUT_OFF) == [], name
    page.context.close()


def test_a_device_is_set_up_and_asked_for_and_a_recovery_code_replaces_it(
    console: str, chromium: Browser, logged_in: Any
) -> None:
    page = owners_page(chromium, console)
    page.goto(f"{console}/account/second-factor/")
    page.get_by_label("Present password").fill(PASSWORD)
    page.get_by_role("button", name="Begin").click()
    picture = page.get_by_role("img", name="QR code").locator("svg").bounding_box()
    assert picture and picture["width"] == picture["height"] > 150, "a camera must be able to read it"
    look_at(page, "second-factor-scan-light")
    page.get_by_label("Code of the device").fill(TOTP(page.locator("#secret").inner_text()).now())
    page.get_by_role("button", name="Turn it on").click()
    codes = page.locator("#codes").inner_text().split()
    look_at(page, "second-factor-codes-light")
    log_in(elsewhere := chromium.new_page(**LOOKS["dark"]), console)
    expect(elsewhere.get_by_role("heading", name="And the code")).to_be_visible()
    look_at(elsewhere, "login-code-dark")
    elsewhere.get_by_label("Code", exact=True).fill(codes[0])
    elsewhere.get_by_role("button", name="Log in").click()
    expect(elsewhere.get_by_role("heading", name="Overview")).to_be_visible()
    elsewhere.context.close()
    page.get_by_role("link", name="I have kept them").click()
    page.get_by_label("Present password").fill(PASSWORD)
    page.get_by_role("button", name="Remove the second factor").click()
    expect(page.get_by_text("the password alone opens")).to_be_visible()
    page.context.close()


def test_a_rotation_is_asked_for_without_a_mouse(console: str, chromium: Browser, logged_in: Any) -> None:
    page = owners_page(chromium, console)
    page.goto(f"{console}/split/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.get_by_label("Prefill", exact=True).focus()
    page.keyboard.type("55")
    page.get_by_role("button", name="Preview the rotation").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.context.close()


def test_a_backup_is_gone_back_to(console: str, chromium: Browser, logged_in: Any) -> None:
    page = owners_page(chromium, console, "phone")
    page.set_default_timeout(PATIENCE_MS)
    page.goto(f"{console}/health/")
    page.get_by_role("button", name=re.compile("^Restore appliance-")).first.click()
    expect(page.get_by_role("heading", name="Go back to")).to_be_visible()
    look_at(page, "restore-phone")
    page.get_by_role("button", name="Restore it").click()
    expect(page.get_by_text("The database is that of appliance-")).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("^Restore replaced-"))).to_be_visible()
    page.context.close()


def test_what_can_be_simulated_is_said_on_the_page(console: str, chromium: Browser, logged_in: Any) -> None:
    page = owners_page(chromium, console)
    page.set_default_timeout(PATIENCE_MS)
    page.goto(f"{console}/slo/")
    page.get_by_role("button", name="Simulate the last minutes").click()
    expect(page.get_by_role("button", name="Simulate again")).to_be_visible()
    look_at(page, "simulation-light")
    page.context.close()


def test_a_page_without_a_stream_asks_again_and_again(console: str, chromium: Browser, logged_in: Any) -> None:
    page = owners_page(chromium, console)
    page.route("**/live/stream*", lambda route: route.abort())
    with page.expect_response("**/live/now", timeout=PATIENCE_MS):
        page.goto(console)
    expect(page.locator('[data-live="state"]')).to_contain_text("Serving", timeout=PATIENCE_MS)
    page.context.close()


def test_a_console_that_dies_comes_back_and_requests_go_on(
    appliance: Appliance, console: str, chromium: Browser, logged_in: Any
) -> None:
    page = owners_page(chromium, console)
    with page.expect_response(lambda answer: "/live/" in answer.url and answer.ok, timeout=PATIENCE_MS):
        for process in appliance.processes("webui"):
            process.kill()
        assert appliance.post("/v1/completions", prompt="os.path", max_tokens=4)["choices"]
    expect(page.locator('[data-live="state"]')).to_contain_text("Serving", timeout=PATIENCE_MS)
    page.context.close()


def owners_page(chromium: Browser, console: str, look: str = "light") -> Page:
    page = chromium.new_page(**LOOKS[look])
    log_in(page, console)
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    return page


def log_in(page: Page, console: str) -> None:
    page.goto(f"{console}/login")
    page.get_by_label("Name", exact=True).fill(OWNER)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()


def look_at(page: Page, name: str) -> None:
    shot(page, name)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} is too wide"
    serious = [one for one in Axe().run(page).response["violations"] if one["impact"] in ("serious", "critical")]
    assert not serious, f"{name}: {[(one['id'], [node['html'] for node in one['nodes']]) for one in serious]}"


def shot(page: Page, name: str) -> None:
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"{name}.png", full_page=True)
