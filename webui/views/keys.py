"""API keys: made, shown once, revoked. The controller keeps them; of a key itself only its SHA-256."""

from __future__ import annotations

import time

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import IntegerField, SelectField, SelectMultipleField, StringField
from wtforms.fields.choices import SelectChoice  # pyright: ignore[reportAttributeAccessIssue]
from wtforms.validators import InputRequired, Length, NumberRange, Optional
from wtforms.widgets import CheckboxInput, ListWidget

from appliance.store import queries
from appliance.store.queries import Row
from appliance.store.reading import StoreUnreadable, reading
from webui.accounts.users import Refused
from webui.changes import KeyWish, key_in
from webui.security.limits import TRY_A_PASSWORD, limiter
from webui.services import services
from webui.views.consent import require_code
from webui.views.known_browser import who_tries
from webui.views.people import actor, person

blueprint = Blueprint("keys", __name__, url_prefix="/keys")

LIFETIMES = {"30": "30 days", "90": "90 days", "365": "1 year", "": "never"}
SCOPES = {"inference": "inference: the REST endpoint", "admin": "admin: this console's API"}


class KeyForm(FlaskForm):
    """What a new key is to be."""

    name = StringField("Name", [InputRequired(), Length(max=64)])
    scopes = SelectMultipleField(
        "For",
        choices=[SelectChoice(*one) for one in SCOPES.items()],
        option_widget=CheckboxInput(),
        widget=ListWidget(prefix_label=False),
    )
    days = SelectField("Expires", choices=[SelectChoice(*one) for one in LIFETIMES.items()], default="90")
    requests_per_minute = IntegerField("Limit", [Optional(), NumberRange(1, 1_000_000)])
    code = StringField("Code of the device", [Optional(), Length(max=32)])


@blueprint.get("/")
def page() -> ResponseReturnValue:
    return _page(KeyForm(scopes=["inference"]))


@blueprint.post("/")
@limiter.limit(TRY_A_PASSWORD, key_func=who_tries, exempt_when=lambda: not request.form.get("code"))
def add() -> ResponseReturnValue:
    form = KeyForm()
    if not form.validate():
        return _page(form), 400
    code, form.code.data = form.code.data or "", ""
    try:
        if "admin" in (form.scopes.data or ()):
            require_code(code, "key.add")
    except Refused as refused:
        form.form_errors.append(str(refused))
        return _page(form), 400
    days = int(form.days.data) if form.days.data else None
    wish = KeyWish(form.name.data or "", tuple(form.scopes.data or ()), days, form.requests_per_minute.data)
    reply = services().changes.add_key(actor(), wish)
    if not reply.done:
        form.form_errors.append(reply.sentence)
        return _page(form), 409
    return _page(KeyForm(formdata=None, scopes=["inference"]), new_key=key_in(reply), new_name=wish.name)


@blueprint.post("/<name>/revoke")
def revoke(name: str) -> ResponseReturnValue:
    reply = services().changes.revoke_key(actor(), name)
    flash(reply.sentence, "success" if reply.done else "danger")
    return redirect(url_for("keys.page"), 303)


def all_keys() -> list[Row]:
    """Those that can be used first, each with its `state`."""
    try:
        with reading(services().config.instance.state_dir) as connection:
            rows = queries.keys(connection)
    except StoreUnreadable:
        rows = []
    for row in rows:
        row["state"] = _state(row, time.time())
    return sorted(rows, key=lambda row: (row["state"] != "valid", row["name"]))


def _state(row: Row, now: float) -> str:
    if row["revoked_at"] is not None:
        return "revoked"
    return "expired" if row["expires_at"] is not None and row["expires_at"] <= now else "valid"


def _page(form: KeyForm, new_key: str = "", new_name: str = "") -> str:
    return render_template(
        "keys.html",
        form=form,
        keys=all_keys(),
        new_key=new_key,
        new_name=new_name,
        has_second_factor=services().second_factors.is_on(person().user_id),
    )
