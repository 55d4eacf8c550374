"""First run: claim the console with the one-time token. The same page sets a new password with a token from the
command line."""

from __future__ import annotations

from math import ceil

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import PasswordField, StringField
from wtforms.validators import EqualTo, InputRequired, Length, Regexp

from webui.accounts.passwords import MOST_CHARACTERS
from webui.accounts.users import Refused
from webui.security.limits import TRY_A_PASSWORD, limiter
from webui.services import services
from webui.views.known_browser import who_tries
from webui.views.login import welcomed
from webui.views.people import someone

blueprint = Blueprint("first_run", __name__)


class ClaimForm(FlaskForm):
    """The token proves that one reads the appliance's terminal or files."""

    token = StringField("One-time token", [InputRequired(), Length(max=100)])
    name = StringField(
        "Your name",
        [InputRequired(), Length(max=40), Regexp(r"^[\w.@-]+$", message="Letters, digits and . _ @ - only.")],
    )
    password = PasswordField("Password", [InputRequired(), Length(max=MOST_CHARACTERS)])
    again = PasswordField("Password again", [InputRequired(), EqualTo("password", "The two passwords differ.")])


@blueprint.get("/first-run")
def page() -> ResponseReturnValue:
    if services().users.is_claimed and services().setup_token.value is None:
        return redirect(url_for("login.page"))
    return _page(ClaimForm(token=request.args.get("token", "")))


@blueprint.post("/first-run")
@limiter.limit(TRY_A_PASSWORD, key_func=who_tries)
def claim() -> ResponseReturnValue:
    form, tries = ClaimForm(), who_tries()
    if not form.validate():
        return _page(form), 400
    if wait := services().back_off.wait_seconds(tries):
        form.form_errors.append(f"Too many wrong tokens from here: try again in {ceil(wait)} s.")
        return _page(form), 429
    name, token, password = form.name.data or "", form.token.data or "", form.password.data or ""
    if not services().setup_token.is_right(token):
        services().back_off.failed(tries)
        services().audit.add(someone(name), "claim", False, "The one-time token was wrong.")
        form.form_errors.append("This token is not right, or has been used: semi-pd console token prints a new one.")
        return _page(form), 401
    try:
        user = services().users.claim(name, password)
    except Refused as refused:
        form.form_errors.append(str(refused))
        return _page(form), 400
    services().setup_token.use_up()
    services().sessions.end_all(user.id)
    services().audit.add(someone(name), "claim", True, "Claimed the console with the one-time token.")
    return welcomed(user)


def _page(form: ClaimForm) -> str:
    return render_template("first_run.html", form=form, is_claimed=services().users.is_claimed)
