"""One's second factor: set up with a picture and a first code, and removed with the password."""

from __future__ import annotations

import time

import segno
from flask import Blueprint, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from markupsafe import Markup
from wtforms import PasswordField, StringField
from wtforms.validators import InputRequired, Length

from webui.accounts.passwords import MOST_CHARACTERS
from webui.accounts.second_factors import uri
from webui.accounts.users import Refused
from webui.security.limits import TRY_A_PASSWORD, limiter
from webui.services import services
from webui.views.consent import require_consent
from webui.views.known_browser import who_tries
from webui.views.people import actor, person

blueprint = Blueprint("second_factor", __name__, url_prefix="/account/second-factor")

CONSENT = "second-factor"
"""In the signed cookie: until when the password that was given to begin lets one see the secret and confirm it."""
CONSENT_SECONDS = 600.0


class ConsentForm(FlaskForm):
    """Who only found an open browser knows no password."""

    present = PasswordField("Present password", [InputRequired(), Length(max=MOST_CHARACTERS)])


class FirstCodeForm(FlaskForm):
    """Shows that the device has the secret."""

    code = StringField("Code of the device", [InputRequired(), Length(max=10)])


@blueprint.get("/")
def page() -> ResponseReturnValue:
    return _page()


@blueprint.post("/propose")
@limiter.limit(TRY_A_PASSWORD, key_func=who_tries)
def propose() -> ResponseReturnValue:
    form = ConsentForm()
    try:
        require_consent(form.present.data or "", "second-factor.propose")
        services().second_factors.propose(person().user_id)
    except Refused as refused:
        return _refused(form, refused)
    session[CONSENT] = time.time() + CONSENT_SECONDS
    services().audit.add(actor(), "second-factor.propose", True, "A secret was shown; it holds once it is confirmed.")
    return redirect(url_for("second_factor.page"), 303)


@blueprint.post("/confirm")
@limiter.limit(TRY_A_PASSWORD, key_func=who_tries)
def confirm() -> ResponseReturnValue:
    """Shows the recovery codes, this once."""
    form = FirstCodeForm()
    if not _has_consent():
        flash("Begin again: more than ten minutes have passed since the password was given.", "danger")
        return redirect(url_for("second_factor.page"), 303)
    try:
        codes = services().second_factors.confirm(person().user_id, form.code.data or "")
    except Refused as refused:
        services().audit.add(actor(), "second-factor.add", False, str(refused))
        form.form_errors.append(str(refused))
        return _page(code_form=form), 400
    session.pop(CONSENT)
    services().sessions.end_all(person().user_id, but=person().session_id)
    services().audit.add(actor(), "second-factor.add", True, "A code is asked for at log-in; other sessions ended.")
    return render_template("recovery_codes.html", codes=codes)


@blueprint.post("/remove")
@limiter.limit(TRY_A_PASSWORD, key_func=who_tries)
def remove() -> ResponseReturnValue:
    form = ConsentForm()
    try:
        require_consent(form.present.data or "", "second-factor.remove")
    except Refused as refused:
        return _refused(form, refused)
    services().second_factors.remove(person().user_id)
    services().audit.add(actor(), "second-factor.remove", True, "The password alone opens again.")
    flash("The second factor is removed: the password alone opens.", "success")
    return redirect(url_for("second_factor.page"), 303)


def _has_consent() -> bool:
    """A secret that was proposed and left must not become the factor of whoever finds the browser open."""
    return time.time() < session.get(CONSENT, 0.0)


def _refused(form: ConsentForm, refused: Refused) -> ResponseReturnValue:
    form.form_errors.append(str(refused))
    return _page(form), 400


def _page(form: ConsentForm | None = None, code_form: FirstCodeForm | None = None) -> str:
    factors, user_id = services().second_factors, person().user_id
    secret = factors.proposed(user_id) if _has_consent() else None
    return render_template(
        "second_factor.html",
        form=form or ConsentForm(formdata=None),
        code_form=code_form or FirstCodeForm(formdata=None),
        is_on=factors.is_on(user_id),
        codes_left=factors.recovery_codes_left(user_id),
        secret=secret,
        picture=_picture(secret) if secret else None,
    )


def _picture(secret: str) -> Markup:
    """Black on white in the dark too: some cameras read it no other way."""
    code = segno.make(uri(secret, person().name, request.host), error="m")
    return Markup(code.svg_inline(scale=5, dark="#000", light="#fff"))
