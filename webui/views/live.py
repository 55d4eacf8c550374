"""The live stream, one a tab, and the same for browsers that have to ask again and again."""

from __future__ import annotations

from flask import Blueprint, Response, abort, jsonify, request
from flask.typing import ResponseReturnValue

from webui.feed import TooManyWatchers, stream
from webui.services import services
from webui.views.logs import log_filter
from webui.views.people import person

blueprint = Blueprint("live", __name__, url_prefix="/live")


@blueprint.get("/stream")
def events() -> ResponseReturnValue:
    found, token = services(), person().token
    try:
        tail = found.logs.follow(log_filter(request.args)) if "logs" in request.args else None
        body = stream(found.feed, lambda: found.sessions.find(token) is not None, tail)
    except TooManyWatchers:
        abort(503, "Too many pages watch already; this one asks now and then instead.")
    return Response(body, mimetype="text/event-stream", headers={"X-Accel-Buffering": "no"})


@blueprint.get("/now")
def now() -> ResponseReturnValue:
    return jsonify(services().look())
