"""Who a request is from."""

from __future__ import annotations

from typing import cast

from flask import request
from flask_login import current_user

from webui.accounts.audit import Actor
from webui.accounts.sessions import Browser, LoggedIn


def browser() -> Browser:
    return Browser(request.remote_addr or "?", request.user_agent.string)


def person() -> LoggedIn:
    """Who is logged in; only for views that nobody else reaches."""
    return cast(LoggedIn, current_user)


def actor() -> Actor:
    """The same, as the audit log has it."""
    return Actor(person().name, browser().address)


def someone(name: str) -> Actor:
    """Somebody who says to be `name`."""
    return Actor(name or "?", browser().address)
