"""A chat with the model that is served."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, abort, render_template, request
from flask.typing import ResponseReturnValue

from webui.playground import Playground
from webui.playground_key import NoKey
from webui.security.limits import CHAT, limiter
from webui.services import services
from webui.views.people import actor

blueprint = Blueprint("playground", __name__, url_prefix="/playground")

MOST_MESSAGES = 200
NUMBERS = {"temperature": float, "top_p": float, "max_tokens": int, "seed": int}


@blueprint.get("/")
def page() -> ResponseReturnValue:
    settings = services().config.settings
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    endpoint = f"{settings.url_scheme}://{host}:{settings.port}/v1"
    return render_template("playground.html", endpoint=endpoint)


@blueprint.post("/chat")
@limiter.limit(CHAT)
def chat() -> ResponseReturnValue:
    body = chat_body(request.get_json())
    try:
        key = services().playground_key.value(actor())
    except NoKey as error:
        abort(503, str(error))
    events = Playground(services().config.settings, key).chat(body)
    return Response(events, mimetype="text/event-stream", headers={"X-Accel-Buffering": "no"})


def chat_body(given: Any) -> dict[str, Any]:
    """What is passed on of what the page sent: messages and known parameters. Aborts with 400."""
    try:
        kept = [{"role": str(one["role"]), "content": str(one["content"])} for one in given["messages"]]
        numbers = {name: kind(given[name]) for name, kind in NUMBERS.items() if given.get(name) not in (None, "")}
    except (TypeError, KeyError, ValueError, AttributeError):
        abort(400, "A chat is messages with role and content, and numbers as parameters.")
    if not kept:
        abort(400, "A chat needs a message.")
    return {"messages": kept[-MOST_MESSAGES:], **numbers}
