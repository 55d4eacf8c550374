"""What holds for every request."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from tests.webui.stand import ORIGIN, OWNER, PASSWORD, Browser, Stand
from webui.config import ConsoleConfig


def test_a_change_needs_the_pages_token(owner: Browser) -> None:
    answer = owner.client.post("/slo/mode", base_url=ORIGIN, data={"mode": "hold"}, headers={"Origin": ORIGIN})
    assert answer.status_code == 400
    assert "open for too long" in answer.text


@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "http://localhost:8081"])
def test_a_change_must_come_from_our_own_page(owner: Browser, origin: str | None) -> None:
    form = {"csrf_token": owner.csrf_token, "mode": "hold"}
    headers = {} if origin is None else {"Origin": origin}
    assert owner.client.post("/slo/mode", base_url=ORIGIN, data=form, headers=headers).status_code == 403


def test_a_password_in_the_address_does_not_stand_in_for_the_origin(owner: Browser) -> None:
    """A page elsewhere may submit a form to http://user:password@host/, and the browser sends them along."""
    headers = {"Origin": "http://evil.example", "Authorization": "Basic YTpi"}
    form = {"csrf_token": owner.csrf_token, "mode": "hold"}
    assert owner.client.post("/slo/mode", base_url=ORIGIN, data=form, headers=headers).status_code == 403


def test_other_host_names_are_refused(stand: Stand) -> None:
    assert stand.app.test_client().get("/login", base_url="http://evil.example").status_code == 400


def test_scripts_run_only_with_the_answers_own_nonce(owner: Browser) -> None:
    answers = [owner.get("/") for _ in range(2)]
    nonces = [re.search(r"script-src 'nonce-([^']+)'", answer.headers["Content-Security-Policy"]) for answer in answers]
    assert nonces[0] and nonces[1] and nonces[0][1] != nonces[1][1]
    scripts = re.findall(r"<script[^>]*>", answers[0].text)
    assert scripts and all(f'nonce="{nonces[0][1]}"' in script for script in scripts)
    assert not re.search(r"<[^>]+\s(on\w+|style)=", answers[0].text), "inline handlers and styles would not run"


def test_pages_are_not_kept_and_not_framed(owner: Browser) -> None:
    headers = owner.get("/").headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


def test_cookies_are_strict(stand: Stand) -> None:
    token = stand.services.setup_token.renew()
    claimed = stand.browser().post("/first-run", token=token, name=OWNER, password=PASSWORD, again=PASSWORD)
    for cookie in claimed.headers.getlist("Set-Cookie"):
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; ")), cookie


def test_under_tls_cookies_are_tied_to_the_host(stand: Stand) -> None:
    config = stand.services.config
    under_tls = ConsoleConfig(config.instance, config.settings, config.state_dir, config.hosts, has_tls=True)
    kept = under_tls.for_flask()
    assert kept["SESSION_COOKIE_NAME"].startswith("__Host-")
    assert kept["SESSION_COOKIE_SECURE"]


def test_what_crashes_says_so_without_a_trace(stand: Stand, owner: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr(stand.services.audit, "find", crash)
    answer = owner.get("/audit/")
    assert answer.status_code == 500
    assert "secret" not in answer.text


def test_log_lines_are_only_text(stand: Stand, owner: Browser) -> None:
    (stand.instance.log_dir / "gateway.log").write_text("<script>alert(1)</script>\n")
    assert "&lt;script&gt;alert(1)" in owner.get("/logs/").text


def test_vendored_files_are_those_of_the_manifest(stand: Stand) -> None:
    vendor = Path(stand.app.static_folder or "") / "vendor"
    manifest = json.loads((vendor / "manifest.json").read_text())
    listed = {vendor / one["folder"] / name: sha256 for one in manifest for name, sha256 in one["sha256"].items()}
    present = {path for path in vendor.rglob("*") if path.is_file()} - {vendor / "manifest.json"}
    assert present == set(listed)
    for path, sha256 in listed.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256, path
