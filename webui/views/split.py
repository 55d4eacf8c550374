"""The split: what is in force, the ladder with what is predicted, rotations with preview and confirmation."""

from __future__ import annotations

import json
from statistics import median
from typing import Any

from flask import Blueprint, flash, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import BooleanField, IntegerField, StringField
from wtforms.validators import InputRequired, Length, NumberRange

from appliance.control.messages import AskRotations
from appliance.store import queries
from appliance.store.reading import StoreUnreadable, reading
from engine.allocation import SMAllocation
from webui.services import services
from webui.views.people import actor
from webui.views.slo import mode_form

blueprint = Blueprint("split", __name__, url_prefix="/split")

SHOWN = 100


class RotateForm(FlaskForm):
    """Shares in percent; with `new_group` the processes are replaced even at the split in force."""

    prefill = IntegerField("Prefill", [InputRequired(), NumberRange(1, 100)])
    decode = IntegerField("Decode", [InputRequired(), NumberRange(1, 100)])
    reason = StringField("Why", [Length(max=200)])
    new_group = BooleanField("Replace the processes even if this split is in force")


@blueprint.get("/")
def page() -> ResponseReturnValue:
    status = services().controller.status()
    in_force = status["split_in_force"] if status else None
    prefill, decode = map(int, (in_force or "50/50").split("/"))
    return render_template(
        "split.html",
        form=RotateForm(prefill=prefill, decode=decode),
        status=status,
        in_force=in_force,
        ladder=_ladder(status),
        mode_form=mode_form(status),
        rotations=recent_rotations(),
    )


@blueprint.get("/preview")
def preview() -> ResponseReturnValue:
    """What a rotation would mean, as a part of the page."""
    prefill, decode = request.args.get("prefill", 0, type=int), request.args.get("decode", 0, type=int)
    try:
        split = SMAllocation(prefill, decode)
    except ValueError as problem:
        return render_template("split_preview.html", problem=str(problem))
    status = services().controller.status()
    latest = (status["slo"]["latest_decision"] or {}) if status else {}
    took = [row["live_seconds"] for row in recent_rotations() if row["live_seconds"] is not None]
    return render_template(
        "split_preview.html",
        split=split,
        status=status,
        new_group="new_group" in request.args,
        predicted=latest.get("rungs", {}).get(str(split)),
        usual_seconds=median(took) if took else None,
    )


@blueprint.post("/rotate")
def rotate() -> ResponseReturnValue:
    """Begins it; the page shows it happen."""
    form = RotateForm()
    if not form.validate():
        flash("Both shares are whole percentages from 1 to 100: nothing was asked for.", "danger")
        return redirect(url_for("split.page"), 303)
    split = SMAllocation(form.prefill.data or 0, form.decode.data or 0)
    services().changes.begin_rotation(actor(), split, form.reason.data or "", bool(form.new_group.data))
    flash(f"Asked for {split}. Requests go on meanwhile; this page shows what becomes of it.", "success")
    return redirect(url_for("split.page"), 303)


@blueprint.get("/rotations")
def timeline() -> ResponseReturnValue:
    """The table of rotations, as a part of the page."""
    return render_template("rotations.html", rotations=recent_rotations())


@blueprint.get("/rotations.json")
def rotations_json() -> ResponseReturnValue:
    return jsonify(recent_rotations())


def recent_rotations() -> list[dict[str, Any]]:
    """The latest first; where no appliance answers, what the store has of those before."""
    reply = services().controller.ask(AskRotations(SHOWN))
    if reply.done:
        return json.loads(reply.data)[::-1]
    try:
        with reading(services().config.instance.state_dir) as connection:
            return [row["record"] for row in queries.rotations(connection, SHOWN)][::-1]
    except StoreUnreadable:
        return []


def _ladder(status: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The rungs that the policy may choose: their profile, and what it predicted for each the last time."""
    if status is None:
        return []
    predicted = (status["slo"]["latest_decision"] or {}).get("rungs", {})
    return [
        {
            "split": rung["split"],
            "shares": rung["split"].split("/"),
            "speeds": (rung["prefill"], rung["decode"]),
            "predicted": predicted.get(rung["split"]),
            "is_in_force": status["split_in_force"] == rung["split"],
            "target": status["slo"]["target"],
        }
        for rung in status["slo"]["ladder"]["rungs"]
    ]
