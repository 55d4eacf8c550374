"""What the owner changes reaches the controller and the audit log, on pages and through the API."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
from werkzeug.test import TestResponse

from appliance.store.backup import back_up_daily
from engine.allocation import SMAllocation
from tests.webui.stand import ORIGIN, Browser, Stand

TARGETS = {
    "ttft_ms": "750",
    "tpot_ms": "40",
    "window_seconds": "20",
    "cooldown_seconds": "30",
    "min_confidence": "0.8",
    "reason": "agreed",
}


def api(stand: Stand, method: str, path: str, key: str, body: Any = None) -> TestResponse:
    headers = {"Authorization": f"Bearer {key}"}
    return stand.app.test_client().open(f"/api/v1{path}", method=method, base_url=ORIGIN, json=body, headers=headers)


def admin_key(stand: Stand, owner: Browser) -> str:
    shown = owner.post("/keys/", name="robot", scopes=["admin"], days="30")
    found = re.search(r'id="new-key"[^>]*>([^<]+)<', shown.text)
    assert found, shown.text
    return found[1]


def test_targets_are_set_with_who_and_why(stand: Stand, owner: Browser) -> None:
    assert owner.post("/slo/target", **TARGETS).status_code == 303
    assert stand.coordinator.slo_manager.status()["target"] == {"ttft_target_ms": 750.0, "tpot_target_ms": 40.0}
    shown = owner.get("/slo/").text
    assert "console:ada" in shown and "agreed" in shown and 'value="750"' in shown and 'value="0.8"' in shown
    assert stand.audit[0] == ("ada", "slo.target", True)


def test_targets_out_of_bounds_never_reach_the_controller(stand: Stand, owner: Browser) -> None:
    assert owner.post("/slo/target", **TARGETS | {"ttft_ms": "-3"}).status_code == 400
    assert owner.post("/slo/target", **TARGETS | {"tpot_ms": "fast"}).status_code == 400
    assert stand.audit[0][1] == "claim"


def test_the_policy_is_switched(stand: Stand, owner: Browser) -> None:
    owner.post("/slo/mode", mode="hold")
    assert stand.coordinator.slo_manager.status()["mode"] == "hold"
    owner.post("/slo/mode", mode="chaos")
    assert stand.coordinator.slo_manager.status()["mode"] == "hold"
    assert stand.audit[:2] == [("ada", "slo.mode", False), ("ada", "slo.mode", True)]


def test_who_switches_the_policy_from_the_split_page_stays_there(stand: Stand, owner: Browser) -> None:
    shown = owner.get("/split/").text
    assert 'name="page" type="hidden" value="split"' in shown
    assert owner.post("/slo/mode", mode="auto", page="split").location == "/split/"
    assert owner.post("/slo/mode", mode="manual", page="https://evil.example").location == "/slo/"


def test_the_ladder_shows_its_profile(owner: Browser) -> None:
    """With the splitter `duty` a phase is as fast as its share."""
    row = owner.get("/split/").text.split('data-split="30/70"')[1].split("</tr>")[0]
    assert "30 %" in row and "70 %" in row


def test_a_rotation_is_asked_for_and_concluded(stand: Stand, owner: Browser) -> None:
    assert "From <b>70/30</b> to <b>30/70</b>" in owner.get("/split/preview?prefill=30&decode=70").text
    assert owner.post("/split/rotate", prefill="30", decode="70", reason="to see").status_code == 303
    stand.services.changes.wait()
    assert stand.engine.allocation_in_force == SMAllocation(30, 70)
    assert stand.audit[:2] == [("ada", "split.rotate", True), ("ada", "split.ask", True)]
    timeline = owner.get("/split/rotations").text
    assert "to see, console:ada" in timeline
    assert "5 streams paused, 9.0 ms at most, median 2.0 ms" in timeline


def test_a_rotation_that_is_not_made_says_why(stand: Stand, owner: Browser) -> None:
    stand.engine.refusal = "The workers did not become ready."
    owner.post("/split/rotate", prefill="30", decode="70")
    stand.services.changes.wait()
    assert stand.audit[0] == ("ada", "split.rotate", False)
    assert "The workers did not become ready." in owner.get("/split/rotations").text


def test_workers_are_renewed_at_the_split_in_force(stand: Stand, owner: Browser) -> None:
    before = stand.engine.status["groups"][0]["epoch"]
    owner.post("/processes/renew-workers")
    stand.services.changes.wait()
    after = stand.engine.status["groups"][0]
    assert (after["epoch"], after["split"]) == (before + 1, "70/30")


def test_a_key_is_shown_once_and_revoked(stand: Stand, owner: Browser) -> None:
    key = admin_key(stand, owner)
    assert key not in owner.get("/keys/").text
    assert api(stand, "GET", "/status", key).status_code == 200
    owner.post("/keys/robot/revoke")
    assert api(stand, "GET", "/status", key).status_code == 401
    assert stand.audit[:2] == [("ada", "key.revoke", True), ("ada", "key.add", True)]


def test_the_api_has_the_pages_powers(stand: Stand, owner: Browser) -> None:
    key = admin_key(stand, owner)
    changed = api(stand, "PATCH", "/slo", key, {"ttft_ms": 900, "mode": "hold", "reason": "by night"})
    assert "TTFT 900 ms" in changed.get_json()["sentence"]
    rotated = api(stand, "POST", "/rotations", key, {"prefill": 40, "decode": 60})
    assert rotated.get_json()["rotation"]["asked"] == "40/60"
    made = api(stand, "POST", "/keys", key, {"name": "second"}).get_json()
    assert made["key"].startswith("sk-")
    assert api(stand, "DELETE", "/keys/second", key).status_code == 200
    assert stand.audit[:2] == [("key robot", "key.revoke", True), ("key robot", "key.add", True)]


def test_every_reading_call_of_the_document_answers(stand: Stand, owner: Browser) -> None:
    key = admin_key(stand, owner)
    document = api(stand, "GET", "/openapi.json", key).get_json()
    for path, operations in document["paths"].items():
        if "get" in operations:
            asked = "?ttft_ms=900&tpot_ms=90" if path == "/slo/preview" else ""
            answer = api(stand, "GET", path + asked, key)
            assert answer.status_code == 200, path
            promised = operations["get"]["responses"]["200"]["content"]["application/json"]["schema"]
            jsonschema.validate(answer.get_json(), promised)
    routes = {rule.rule for rule in stand.app.url_map.iter_rules() if rule.endpoint.startswith("api.")}
    assert {f"/api/v1{path}".replace("{name}", "<name>") for path in document["paths"]} == routes


def test_what_is_wrong_with_a_body_is_one_sentence(stand: Stand, owner: Browser) -> None:
    key = admin_key(stand, owner)
    for body in ({"prefill": 0, "decode": 60}, {"prefill": 40}, {"prefill": 40, "decode": 60, "when": "now"}):
        refused = api(stand, "POST", "/rotations", key, body)
        assert refused.status_code == 400
        assert refused.get_json()["error"]["message"].startswith("The field ")
    assert api(stand, "PATCH", "/slo", key, {"reason": "none"}).status_code == 400


def test_the_api_is_closed_to_others(stand: Stand, owner: Browser) -> None:
    shown = owner.post("/keys/", name="client", scopes=["inference"], days="30")
    found = re.search(r'id="new-key"[^>]*>([^<]+)<', shown.text)
    assert found
    assert api(stand, "GET", "/status", found[1]).status_code == 403
    assert api(stand, "GET", "/status", "sk-unknown").status_code == 401
    assert stand.app.test_client().get("/api/v1/status", base_url=ORIGIN).status_code == 401


def test_a_browser_changes_through_the_api_only_with_its_token(stand: Stand, owner: Browser) -> None:
    body, origin = json.dumps({"mode": "hold"}), {"Origin": ORIGIN, "Content-Type": "application/json"}
    without = owner.client.patch("/api/v1/slo", base_url=ORIGIN, data=body, headers=origin)
    assert without.status_code == 403
    token = {"X-CSRFToken": owner.csrf_token}
    assert owner.client.patch("/api/v1/slo", base_url=ORIGIN, data=body, headers=origin | token).status_code == 200


def test_changes_without_an_appliance_are_refused_and_recorded(stand: Stand, owner: Browser) -> None:
    (stand.instance.state_dir / "running.json").unlink()
    owner.post("/slo/mode", mode="hold")
    assert stand.audit[0] == ("ada", "slo.mode", False)
    assert "No appliance of this user is running" in owner.get("/slo/").text


def test_a_backup_is_downloaded_and_recorded(stand: Stand, owner: Browser) -> None:
    copy = owner.post("/health/backup")
    assert copy.data.startswith(b"SQLite format 3")
    assert stand.audit[0] == ("ada", "backup", True)
    assert list(stand.instance.console_dir.glob("tmp*")) == []
    key = admin_key(stand, owner)
    assert api(stand, "POST", "/backup", key).data.startswith(b"SQLite format 3")
    assert stand.audit[0] == ("key robot", "backup", True)


def test_a_backup_that_cannot_be_made_says_why(stand: Stand, owner: Browser) -> None:
    (stand.instance.state_dir / "appliance.db").rename(stand.instance.state_dir / "elsewhere.db")
    refused = owner.post("/health/backup")
    assert refused.status_code == 503 and "No backup was made" in refused.text
    assert stand.audit[0] == ("ada", "backup", False)


def test_the_owner_goes_back_to_a_backup(stand: Stand, owner: Browser) -> None:
    """What it has holds at once: targets, who moves the split, keys."""
    owner.post("/slo/target", **TARGETS | {"ttft_ms": "640"})
    owner.post("/slo/mode", mode="hold")
    back_up_daily(stand.store.path, 0.0)
    key = admin_key(stand, owner)
    owner.post("/slo/target", **TARGETS | {"ttft_ms": "980"})
    owner.post("/slo/mode", mode="auto")
    assert "Go back to " in owner.get("/health/").text
    assert owner.post("/health/backups/appliance-19700101.db/restore").status_code == 303
    assert stand.audit[0] == ("ada", "restore", True)
    policy = stand.coordinator.slo_manager.status()
    assert (policy["target"]["ttft_target_ms"], policy["mode"]) == (640.0, "hold")
    assert api(stand, "GET", "/status", key).status_code == 401
    shown = owner.get("/health/").text
    assert "The database is that of appliance-19700101.db now" in shown and "replaced-" in shown
    assert "640" in owner.get("/slo/").text


def test_a_backup_that_is_none_is_refused_in_one_sentence(stand: Stand, owner: Browser) -> None:
    back_up_daily(stand.store.path, 0.0)
    (backup,) = (stand.instance.state_dir / "backups").iterdir()
    backup.write_text("no database")
    owner.post("/slo/mode", mode="hold")
    owner.post(f"/health/backups/{backup.name}/restore")
    assert "is no whole SQLite database" in owner.get("/health/").text
    owner.post("/health/backups/other.db/restore")
    assert "There is no backup named other.db" in owner.get("/health/").text
    assert stand.audit[:2] == [("ada", "restore", False)] * 2
    assert stand.coordinator.slo_manager.status()["mode"] == "hold"


def test_programs_go_back_to_a_backup_too(stand: Stand, owner: Browser) -> None:
    key = admin_key(stand, owner)
    back_up_daily(stand.store.path, 0.0)
    (listed,) = api(stand, "GET", "/backups", key).get_json()
    assert listed["name"] == "appliance-19700101.db" and listed["bytes"] > 0
    done = api(stand, "POST", f"/backups/{listed['name']}/restore", key)
    assert done.status_code == 200 and "kept as replaced-" in done.get_json()["sentence"]
    assert stand.audit[0] == ("key robot", "restore", True)
    assert api(stand, "POST", "/backups/other.db/restore", key).status_code == 409


def test_the_audit_log_is_searched_by_programs_too(stand: Stand, owner: Browser) -> None:
    key = admin_key(stand, owner)
    owner.post("/slo/mode", mode="hold")
    found = api(stand, "GET", "/audit?action=slo.mode", key).get_json()
    assert [entry["action"] for entry in found] == ["slo.mode"]
    assert api(stand, "GET", "/audit?words=nobody-says-this", key).get_json() == []


def test_programs_are_told_what_targets_would_mean(stand: Stand, owner: Browser) -> None:
    key = admin_key(stand, owner)
    found = api(stand, "GET", "/slo/preview?ttft_ms=900&tpot_ms=90", key).get_json()
    assert "Not enough requests" in found["sentence"] and found["rungs"] == []
    refused = api(stand, "GET", "/slo/preview?ttft_ms=-1&tpot_ms=90", key)
    assert refused.status_code == 409 and "TTFT target" in refused.get_json()["error"]["message"]


def test_services_are_restarted_only_where_there_are_some(stand: Stand, owner: Browser) -> None:
    owner.post("/processes/units/semi-pd-gateway.service/restart")
    assert stand.audit[0] == ("ada", "unit.restart", False)
    assert "runs in the foreground" in owner.get("/processes/").text
