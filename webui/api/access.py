"""Who may use the admin API: a key with the scope `admin`, or a browser that is logged in and sends its token."""

from __future__ import annotations

import hashlib
import time

from flask import abort, g, request
from flask_login import current_user
from flask_wtf.csrf import validate_csrf
from wtforms import ValidationError

from appliance.store import queries
from appliance.store.queries import Row
from appliance.store.reading import StoreUnreadable, reading
from webui.accounts.audit import Actor
from webui.security.origin import SAFE
from webui.services import services
from webui.views.people import actor


def require_admin() -> None:
    """Aborts with 401 or 403 for anybody else."""
    if request.authorization is not None:
        g.api_actor = Actor(f"key {_admin_key()['name']}", request.remote_addr or "?")
    elif current_user.is_authenticated:
        if request.method not in SAFE:
            _require_csrf()
        g.api_actor = actor()
    else:
        abort(401, "A key with the scope admin is needed: send it as 'Authorization: Bearer KEY'.")


def api_actor() -> Actor:
    """Who asks, once `require_admin` has let them in."""
    return g.api_actor


def is_a_person() -> bool:
    """Whether it is a browser that is logged in, and not a program with a key."""
    return request.authorization is None


def _admin_key() -> Row:
    authorization = request.authorization
    token = authorization.token if authorization and authorization.type == "bearer" else None
    digest = hashlib.sha256((token or "").encode()).hexdigest()
    try:
        with reading(services().config.instance.state_dir) as connection:
            row = queries.key_of_digest(connection, digest, time.time())
    except StoreUnreadable as error:
        abort(503, str(error))
    if row is None:
        abort(401, "This key is not known here.")
    if "admin" not in row["scopes"]:
        abort(403, f"The key {row['name']} has not the scope admin.")
    return row


def _require_csrf() -> None:
    try:
        validate_csrf(request.headers.get("X-CSRFToken"))
    except ValidationError:
        abort(403, "A browser's session changes things only with its page's token: send it as X-CSRFToken.")
