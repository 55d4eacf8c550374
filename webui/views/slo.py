"""The promises: targets and what the policy goes by, what it would do with others, and how they were kept."""

from __future__ import annotations

import json
from typing import Any

from flask import Blueprint, Response, flash, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import HiddenField, RadioField, StringField
from wtforms.fields.choices import SelectChoice  # pyright: ignore[reportAttributeAccessIssue]
from wtforms.validators import InputRequired, Length, NumberRange

from appliance.control.messages import AskDecisions
from appliance.slo import Mode, SLOTarget
from appliance.store import queries
from appliance.store.queries import Row
from appliance.store.reading import StoreUnreadable, reading
from webui.changes import PolicyChange
from webui.pages.fields import NumberField
from webui.services import services
from webui.slo import report
from webui.slo.preview import doubt, preview
from webui.slo.simulated import Simulated, simulated
from webui.views.people import actor

blueprint = Blueprint("slo", __name__, url_prefix="/slo")

MODES = {
    Mode.AUTO: "The policy moves the split.",
    Mode.HOLD: "The policy says what it would do, and does nothing.",
    Mode.MANUAL: "The policy keeps quiet; people move the split.",
}
SPANS = {"1 hour": 3600, "1 day": 86400, "7 days": 7 * 86400, "30 days": 30 * 86400}
DAY = 86400
LOOKED_THROUGH = 200
"""Decisions, for one with a prediction: at one a window, more than an hour and a half."""


class TargetForm(FlaskForm):
    """Targets in milliseconds, for the 95th percentile, and what the policy goes by."""

    ttft_ms = NumberField("Time to first token", [InputRequired(), NumberRange(1, 600_000)])
    tpot_ms = NumberField("Time per token", [InputRequired(), NumberRange(0.1, 60_000)])
    window_seconds = NumberField("Window", [InputRequired(), NumberRange(1, 3600)])
    cooldown_seconds = NumberField("Cooldown", [InputRequired(), NumberRange(0, 86_400)])
    min_confidence = NumberField("Least confidence", [InputRequired(), NumberRange(0, 1)])
    reason = StringField("Why", [Length(max=200)])

    @property
    def change(self) -> PolicyChange:
        """For a form that has been validated."""
        return PolicyChange(**{name: self[name].data for name in PolicyChange._fields})


class ModeForm(FlaskForm):
    """Who moves the split; asked for on two pages, of which `page` is the one to come back to."""

    mode = RadioField("Policy", choices=[SelectChoice(mode, words) for mode, words in MODES.items()])
    page = HiddenField()


@blueprint.get("/")
def page() -> ResponseReturnValue:
    status = services().controller.status()
    return _page(TargetForm(**_in_force(status)), status)


@blueprint.post("/target")
def set_target() -> ResponseReturnValue:
    form = TargetForm()
    if not form.validate():
        return _page(form, services().controller.status()), 400
    reply = services().changes.set_policy(actor(), form.change, form.reason.data or "")
    flash(reply.sentence, "success" if reply.done else "danger")
    return redirect(url_for("slo.page"), 303)


@blueprint.post("/mode")
def set_mode() -> ResponseReturnValue:
    form = ModeForm()
    mode = form.mode.data if form.validate() else ""
    reply = services().changes.set_mode(actor(), mode)
    flash(reply.sentence, "success" if reply.done else "danger")
    return redirect(url_for("split.page" if form.page.data == "split" else "slo.page"), 303)


def mode_form(status: dict | None) -> ModeForm:
    """As it is now; for a page that shows it."""
    return ModeForm(formdata=None, mode=status["slo"]["mode"] if status else None, page=request.blueprint)


@blueprint.get("/preview")
def show_preview() -> ResponseReturnValue:
    """A part of the page, renewed as the form is filled in."""
    return render_template("slo_preview.html", **foretold())


@blueprint.get("/simulation")
def show_simulation() -> ResponseReturnValue:
    """A part of the page that takes seconds to make, and is made when somebody asks for it."""
    return render_template("slo_simulation.html", found=simulation())


def simulation() -> Simulated:
    """The last minutes' load at each split and under the policy, against the targets that are asked about."""
    pace = _in_force(services().controller.status())
    asked = {name: request.args.get(name, pace[name], type=float) for name in pace}
    return simulated(services().controller, asked)


def foretold() -> dict[str, Any]:
    """What the targets that are asked about would mean: a `problem`, or else a `preview` and what to make of it."""
    ttft_ms, tpot_ms = request.args.get("ttft_ms", type=float), request.args.get("tpot_ms", type=float)
    try:
        target = SLOTarget(ttft_ms or 0.0, tpot_ms or 0.0)
    except ValueError as problem:
        return {"problem": str(problem)}
    status = services().controller.status()
    slo = status["slo"] if status else {}
    alone = slo.get("alone") or {}
    if problem := target.refusal(alone.get("ttft_ms") or 0.0, alone.get("tpot_ms") or 0.0):
        return {"problem": problem}
    decision = _latest_prediction()
    found = preview(target, decision, status["split_in_force"] if status else None)
    return {
        "problem": "",
        "preview": found,
        "doubt": doubt(found, slo.get("confidence"), _in_force(status)["min_confidence"]),
        "decided_at": decision["decided_at"] if decision else None,
        "mode": slo.get("mode"),
    }


def _latest_prediction() -> dict[str, Any] | None:
    """The latest decision that had requests enough to predict from."""
    reply = services().controller.ask(AskDecisions(LOOKED_THROUGH))
    decisions = json.loads(reply.data) if reply.done else []
    return next((decision for decision in reversed(decisions) if decision["rungs"]), None)


@blueprint.get("/report.csv")
def download_report() -> ResponseReturnValue:
    found = report.compliance(services().config.instance.state_dir, _span())
    headers = {"Content-Disposition": "attachment; filename=semi-pd-compliance.csv"}
    return Response(report.as_csv(found), mimetype="text/csv", headers=headers)


@blueprint.get("/report.json")
def report_json() -> ResponseReturnValue:
    found = report.compliance(services().config.instance.state_dir, _span())
    return jsonify(found._asdict() | {"percent": found.percent})


def _page(form: TargetForm, status: dict | None) -> str:
    found = report.compliance(services().config.instance.state_dir, _span())
    return render_template(
        "slo.html",
        form=form,
        mode_form=mode_form(status),
        status=status,
        history=target_history(),
        report=found,
        spans=SPANS,
        span=_span(),
    )


def _in_force(status: dict | None) -> dict[str, float]:
    """What was set last or, before anything was, what the appliance started with."""
    settings = services().config.settings
    started_with = {
        "ttft_ms": settings.ttft_target_ms,
        "tpot_ms": settings.tpot_target_ms,
        "window_seconds": settings.window_size_seconds,
        "cooldown_seconds": settings.adjustment_cooldown_seconds,
        "min_confidence": settings.min_confidence_threshold,
    }
    latest = next(iter(target_history(1)), {})
    kept = {name: latest.get(name, value) for name, value in started_with.items()}
    if status is not None:
        target = status["slo"]["target"]
        kept |= {"ttft_ms": target["ttft_target_ms"], "tpot_ms": target["tpot_target_ms"]}
    return kept


def _span() -> int:
    return min(max(3600, request.args.get("span", DAY, type=int)), 366 * DAY)


def target_history(limit: int = 50) -> list[Row]:
    """Changes of the targets, the latest first; none where the store cannot be read."""
    try:
        with reading(services().config.instance.state_dir) as connection:
            return queries.target_history(connection, limit)
    except StoreUnreadable:
        return []
