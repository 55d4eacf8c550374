"""Health: what is wrong and what to do about it, versions, and backups, to which the appliance goes back here."""

from __future__ import annotations

import time
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from flask import Blueprint, Response, abort, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from appliance.doctor import Level, health_report
from appliance.store.backup import BackupRefused, back_up
from appliance.store.reading import FILE, StoreUnreadable
from appliance.store.set_aside import restorable
from webui.accounts.audit import Actor
from webui.services import services
from webui.versions import installed
from webui.views.people import actor
from webui.views.processes import units

blueprint = Blueprint("health", __name__, url_prefix="/health")

LEVELS = list(Level)


class Backup(NamedTuple):
    """A copy of the appliance's database beside it. `made_at`: seconds since the epoch."""

    name: str
    bytes: int
    made_at: float


@blueprint.get("/")
def page() -> ResponseReturnValue:
    return render_template("health.html", versions=installed(), backups=backups(), is_machine=bool(units()))


@blueprint.get("/findings")
def findings() -> ResponseReturnValue:
    """A part of the page, which may take seconds where a process is silent."""
    found = health_report(services().config.instance)["findings"]
    worst_first = sorted(found, key=lambda finding: -LEVELS.index(finding["level"]))
    groups = [list(group) for _, group in groupby(worst_first, lambda finding: (finding["level"], finding["about"]))]
    return render_template("findings.html", groups=groups)


@blueprint.post("/backup")
def download_backup() -> ResponseReturnValue:
    return backup_for(actor())


def backup_for(who: Actor) -> Response:
    """A copy of the appliance's database as it is now; for `semi-pd restore`. Aborts with 503 and the reason."""
    name = time.strftime("appliance-%Y%m%d-%H%M%S.db")
    try:
        content = _copy_of(services().config.instance.state_dir / FILE, services().config.state_dir)
    except (BackupRefused, StoreUnreadable, OSError) as error:
        sentence = f"No backup was made: {error}"
        services().audit.add(who, "backup", False, sentence)
        abort(503, sentence)
    services().audit.add(who, "backup", True, f"Downloaded {name}.")
    headers = {"Content-Disposition": f"attachment; filename={name}"}
    return Response(content, mimetype="application/vnd.sqlite3", headers=headers)


@blueprint.post("/backups/<name>/restore")
def restore(name: str) -> ResponseReturnValue:
    reply = services().changes.restore(actor(), name)
    flash(reply.sentence, "success" if reply.done else "danger")
    return redirect(url_for("health.page"), 303)


def _copy_of(database: Path, near: Path) -> bytes:
    with TemporaryDirectory(dir=near) as scratch:
        copy = Path(scratch) / FILE
        back_up(database, copy)
        return copy.read_bytes()


def backups() -> list[Backup]:
    """The latest first."""
    files = restorable(services().config.instance.state_dir / FILE)
    return [Backup(path.name, path.stat().st_size, path.stat().st_mtime) for path in files]
