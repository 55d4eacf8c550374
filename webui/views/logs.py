"""Logs of all processes: filtered, followed, downloaded. They are shown as text, whatever they say."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint, Response, render_template, request
from flask.typing import ResponseReturnValue

from webui.logs.line import LEVELS, LogFilter
from webui.services import services

blueprint = Blueprint("logs", __name__, url_prefix="/logs")

SHOWN = 400
DOWNLOADED = 50_000


@blueprint.get("/")
def page() -> ResponseReturnValue:
    wanted, logs = log_filter(request.args), services().logs
    lines = logs.tail(wanted, SHOWN)
    return render_template("logs.html", lines=lines, wanted=wanted, units=logs.units, levels=LEVELS[:4])


@blueprint.get("/download")
def download() -> ResponseReturnValue:
    lines = services().logs.tail(log_filter(request.args), DOWNLOADED)
    text = "".join(f"{line.text}\n" for line in lines)
    headers = {"Content-Disposition": "attachment; filename=semi-pd.log"}
    return Response(text, mimetype="text/plain", headers=headers)


def log_filter(given: Mapping[str, str]) -> LogFilter:
    """From a page's address."""
    return LogFilter(given.get("unit", ""), given.get("level", ""), given.get("words", ""))
