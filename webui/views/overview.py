"""Overview: latencies against their targets, load, and the split, now and up to 30 days back."""

from __future__ import annotations

from flask import Blueprint, jsonify, render_template, request
from flask.typing import ResponseReturnValue

from webui import history
from webui.services import services

blueprint = Blueprint("overview", __name__)

RANGES = {
    "5 min": 300,
    "30 min": 1800,
    "1 h": 3600,
    "6 h": 6 * 3600,
    "1 d": 86400,
    "7 d": 7 * 86400,
    "30 d": 30 * 86400,
}


@blueprint.get("/")
def page() -> ResponseReturnValue:
    return render_template("overview.html", ranges=RANGES, has_gpu=services().config.settings.device == "cuda")


@blueprint.get("/history")
def series() -> ResponseReturnValue:
    span = request.args.get("span", 300, type=int)
    return jsonify(history.columns(services().config.instance.state_dir, max(60, span)))
