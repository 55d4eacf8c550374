"""Processes: what runs, what it takes, and new workers where somebody wants them."""

from __future__ import annotations

import json
from typing import Any

from flask import Blueprint, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from appliance.control.messages import AskUnits
from engine.allocation import SMAllocation
from webui.services import services
from webui.views.people import actor

blueprint = Blueprint("processes", __name__, url_prefix="/processes")


@blueprint.get("/")
def page() -> ResponseReturnValue:
    return render_template("processes.html", rows=services().processes.rows(), units=units())


@blueprint.get("/table")
def table() -> ResponseReturnValue:
    """The table, as a part of the page."""
    return render_template("process_table.html", rows=services().processes.rows())


@blueprint.post("/units/<name>/restart")
def restart_unit(name: str) -> ResponseReturnValue:
    reply = services().changes.restart_unit(actor(), name)
    flash(reply.sentence, "success" if reply.done else "danger")
    return redirect(url_for("processes.page"), 303)


def units() -> list[dict[str, Any]]:
    """The machine's services as systemd sees them; none where the appliance runs in the foreground."""
    reply = services().controller.ask(AskUnits())
    return json.loads(reply.data) if reply.done else []


@blueprint.post("/renew-workers")
def renew_workers() -> ResponseReturnValue:
    """Replace prefill and decode at the split in force, while requests stream."""
    status = services().controller.status()
    if status is None or status["split_in_force"] is None:
        flash("No workers serve, so there is nothing to renew.", "danger")
        return redirect(url_for("processes.page"), 303)
    split = SMAllocation(*map(int, status["split_in_force"].split("/")))
    services().changes.begin_rotation(actor(), split, "workers renewed", new_group=True)
    flash("Two new workers take over; requests go on meanwhile. See Split for what becomes of it.", "success")
    return redirect(url_for("processes.page"), 303)
