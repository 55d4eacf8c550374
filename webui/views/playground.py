"""A chat with the model that is served."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, abort, render_template, request
from flask.typing import ResponseReturnValue

from engine.config import ServerArgs
from webui.playground import Playground
from webui.playground_key import NoKey
from webui.security.limits import CHAT, limiter
from webui.services import services
from webui.views.people import actor

blueprint = Blueprint("playground", __name__, url_prefix="/playground")

MOST_MESSAGES = 200
EVERYWHERE = ("0.0.0.0", "::")
NUMBERS = {"temperature": float, "top_p": float, "max_tokens": int, "seed": int}


@blueprint.get("/")
def page() -> ResponseReturnValue:
    return render_template("playground.html", endpoint=endpoint_for(services().config.settings, request.host))


def endpoint_for(settings: ServerArgs, console: str) -> str:
    """Where a program finds the endpoint; one that listens everywhere does so under the console's name, `console`."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    if settings.host in EVERYWHERE:
        host = urlsplit(f"//{console}").netloc.rpartition(":")[0] if _has_port(console) else console
    return f"{settings.url_scheme}://{host}:{settings.port}/v1"


def _has_port(console: str) -> bool:
    return urlsplit(f"//{console}").port is not None


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
