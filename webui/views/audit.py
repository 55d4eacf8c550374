"""The audit log: searched, paged, exported."""

from __future__ import annotations

import csv
import io

from flask import Blueprint, Response, render_template, request
from flask.typing import ResponseReturnValue

from webui.accounts.audit import PAGE
from webui.services import services
from webui.storage.schema import AuditEntry

blueprint = Blueprint("audit", __name__, url_prefix="/audit")

COLUMNS = ("at", "who", "address", "action", "was_done", "sentence", "reason")
EXPORTED = 100_000


@blueprint.get("/")
def page() -> ResponseReturnValue:
    words, action = request.args.get("words", ""), request.args.get("action", "")
    number = max(1, request.args.get("page", 1, type=int))
    found = services().audit.find(words, action, number)
    return render_template(
        "audit.html",
        found=found,
        words=words,
        action=action,
        actions=services().audit.actions(),
        page=number,
        pages=max(1, -(-found.total // PAGE)),
    )


@blueprint.get("/export.csv")
def export() -> ResponseReturnValue:
    found = services().audit.find(request.args.get("words", ""), request.args.get("action", ""), size=EXPORTED)
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    writer.writerows([_harmless(value) for value in as_dict(entry).values()] for entry in found.entries)
    headers = {"Content-Disposition": "attachment; filename=semi-pd-audit.csv"}
    return Response(out.getvalue(), mimetype="text/csv", headers=headers)


def as_dict(entry: AuditEntry) -> dict:
    return {name: getattr(entry, name) for name in COLUMNS}


def _harmless(value: object) -> object:
    """A spreadsheet would run what begins so, and whoever fails to log in chooses the name."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
