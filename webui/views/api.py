"""`/api/v1`: parses and answers; what is done is what the pages have done."""

from __future__ import annotations

import json
from typing import TypeVar

from flask import Blueprint, abort, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import ValidationError

from appliance.control.messages import AskDecisions, Reply
from appliance.doctor import health_report
from engine.allocation import SMAllocation
from engine.config import explain
from webui import history
from webui.accounts.users import Refused
from webui.api.access import api_actor, is_a_person, require_admin
from webui.api.bodies import Body, KeyBody, PolicyBody, RotationBody
from webui.api.openapi import document
from webui.changes import key_in
from webui.security.limits import ASK_THE_API, limiter
from webui.services import services
from webui.slo.preview import Rung
from webui.slo.report import compliance
from webui.views.audit import as_dict
from webui.views.consent import require_code
from webui.views.health import backup_for
from webui.views.health import backups as all_backups
from webui.views.keys import all_keys
from webui.views.logs import log_filter
from webui.views.processes import units as all_units
from webui.views.slo import foretold, simulation, target_history
from webui.views.split import recent_rotations

blueprint = Blueprint("api", __name__, url_prefix="/api/v1")
limiter.limit(ASK_THE_API)(blueprint)

DAY = 86400
SomeBody = TypeVar("SomeBody", bound=Body)


@blueprint.before_request
def _require_admin() -> None:
    require_admin()


@blueprint.get("/openapi.json")
def openapi() -> ResponseReturnValue:
    return jsonify(document())


@blueprint.get("/status")
def status() -> ResponseReturnValue:
    return jsonify(_status())


@blueprint.get("/metrics")
def metrics() -> ResponseReturnValue:
    return jsonify(history.columns(services().config.instance.state_dir, _number("span", 300)))


@blueprint.get("/slo")
def slo() -> ResponseReturnValue:
    return jsonify(_status()["slo"] | {"history": target_history()})


@blueprint.patch("/slo")
def change_slo() -> ResponseReturnValue:
    body = _body(PolicyBody)
    replies = []
    if any(value is not None for value in body.change):
        replies.append(_done(services().changes.set_policy(api_actor(), body.change, body.reason)))
    if body.mode is not None:
        replies.append(_done(services().changes.set_mode(api_actor(), body.mode, body.reason)))
    return jsonify(sentence=" ".join(reply.sentence for reply in replies))


@blueprint.get("/slo/preview")
def preview_slo() -> ResponseReturnValue:
    found = foretold()
    if found["problem"]:
        abort(409, found["problem"])
    seen, sentence, is_kept = found["preview"].seen, found["preview"].sentence, found["preview"].is_kept
    rungs = [_rung(one) for one in found["preview"].rungs]
    told = {"sentence": sentence, "is_kept": is_kept, "seen": seen and _rung(seen), "rungs": rungs}
    return jsonify(told | {name: found[name] for name in ("doubt", "decided_at")})


def _rung(rung: Rung) -> dict:
    return {"split": rung.split, "is_kept": not rung.verdict.violation} | rung.predicted._asdict()


@blueprint.get("/slo/simulation")
def simulate_slo() -> ResponseReturnValue:
    found = simulation()
    return jsonify(found._asdict() | {"doubt": found.doubt, "rows": [row._asdict() for row in found.rows]})


@blueprint.get("/report")
def report() -> ResponseReturnValue:
    found = compliance(services().config.instance.state_dir, _number("span", DAY))
    return jsonify(found._asdict() | {"percent": found.percent})


@blueprint.get("/decisions")
def decisions() -> ResponseReturnValue:
    reply = services().controller.ask(AskDecisions(_number("limit", 100)))
    return jsonify(json.loads(_done(reply).data))


@blueprint.get("/rotations")
def rotations() -> ResponseReturnValue:
    return jsonify(recent_rotations())


@blueprint.post("/rotations")
def rotate() -> ResponseReturnValue:
    body = _body(RotationBody)
    split = SMAllocation(body.prefill, body.decode)
    reply = _done(services().changes.rotate(api_actor(), split, body.reason, body.new_group))
    return jsonify(sentence=reply.sentence, rotation=json.loads(reply.data))


@blueprint.get("/keys")
def keys() -> ResponseReturnValue:
    return jsonify(all_keys())


@blueprint.post("/keys")
def add_key() -> ResponseReturnValue:
    body = _body(KeyBody)
    if "admin" in body.scopes:
        _require_second_factor(body.code)
    reply = _done(services().changes.add_key(api_actor(), body.wish))
    return jsonify(sentence=reply.sentence, key=key_in(reply))


def _require_second_factor(code: str) -> None:
    """An admin key would outlive what a second factor protects. A program has no device to ask."""
    if not is_a_person():
        if services().second_factors.is_on_for_anybody():
            abort(403, "A second factor is in use: keys with the scope admin are made on the console's page Keys.")
        return
    try:
        require_code(code, "key.add")
    except Refused as refused:
        abort(403, str(refused))


@blueprint.delete("/keys/<name>")
def revoke_key(name: str) -> ResponseReturnValue:
    return jsonify(sentence=_done(services().changes.revoke_key(api_actor(), name)).sentence)


@blueprint.get("/processes")
def processes() -> ResponseReturnValue:
    return jsonify([row._asdict() for row in services().processes.rows()])


@blueprint.get("/units")
def units() -> ResponseReturnValue:
    return jsonify(all_units())


@blueprint.post("/units/<name>/restart")
def restart_unit(name: str) -> ResponseReturnValue:
    return jsonify(sentence=_done(services().changes.restart_unit(api_actor(), name)).sentence)


@blueprint.get("/logs")
def logs() -> ResponseReturnValue:
    lines = services().logs.tail(log_filter(request.args), _number("limit", 400))
    return jsonify([line._asdict() for line in lines])


@blueprint.get("/health")
def health() -> ResponseReturnValue:
    return jsonify(health_report(services().config.instance))


@blueprint.post("/backup")
def backup() -> ResponseReturnValue:
    return backup_for(api_actor())


@blueprint.get("/backups")
def backups() -> ResponseReturnValue:
    return jsonify([one._asdict() for one in all_backups()])


@blueprint.post("/backups/<name>/restore")
def restore(name: str) -> ResponseReturnValue:
    return jsonify(sentence=_done(services().changes.restore(api_actor(), name)).sentence)


@blueprint.get("/audit")
def audit() -> ResponseReturnValue:
    words, action = request.args.get("words", ""), request.args.get("action", "")
    return jsonify(
        [as_dict(entry) for entry in services().audit.find(words, action, size=_number("limit", 100)).entries]
    )


def _status() -> dict:
    """Aborts with 503 where no appliance answers."""
    found = services().controller.status()
    if found is None:
        abort(503, "No appliance of this user answers.")
    return found


def _done(reply: Reply) -> Reply:
    """Aborts with 409 and the reason where it was not done."""
    if not reply.done:
        abort(409, reply.sentence)
    return reply


def _body(kind: type[SomeBody]) -> SomeBody:
    try:
        return kind.model_validate(request.get_json())
    except ValidationError as error:
        abort(400, explain(error).replace("The setting ", "The field "))


def _number(name: str, usual: int) -> int:
    return max(1, request.args.get(name, usual, type=int))
