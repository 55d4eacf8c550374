"""The second step of a log-in, for who has a second factor: the code."""

from __future__ import annotations

import time
from math import ceil

from flask import Blueprint, redirect, render_template, session, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import StringField
from wtforms.validators import InputRequired, Length

from webui.security.limits import TRY_A_PASSWORD, limiter
from webui.services import services
from webui.storage.schema import User
from webui.views.known_browser import who_tries
from webui.views.login import HALFWAY, welcomed
from webui.views.people import someone

blueprint = Blueprint("login_code", __name__)


class CodeForm(FlaskForm):
    """Of the device, or a recovery code."""

    code = StringField("Code", [InputRequired(), Length(max=40)])


@blueprint.get("/login/code")
def page() -> ResponseReturnValue:
    if _halfway() is None:
        return redirect(url_for("login.page"))
    return render_template("login_code.html", form=CodeForm())


@blueprint.post("/login/code")
@limiter.limit(TRY_A_PASSWORD, key_func=who_tries)
def give() -> ResponseReturnValue:
    form, tries, user = CodeForm(), who_tries(), _halfway()
    if user is None:
        return redirect(url_for("login.page"), 303)
    if wait := services().back_off.wait_seconds(tries):
        form.form_errors.append(f"Too many wrong codes from here: try again in {ceil(wait)} s.")
        return render_template("login_code.html", form=form), 429, {"Retry-After": str(ceil(wait))}
    if not (form.validate() and services().second_factors.is_right(user.id, form.code.data or "")):
        services().back_off.failed(tries)
        services().audit.add(someone(user.name), "login", False, "The password was right, the code was wrong.")
        form.form_errors.append("This code is not right, or was used before: wait for the next one.")
        return render_template("login_code.html", form=form), 401
    services().back_off.succeeded(tries)
    services().audit.add(someone(user.name), "login", True, "Logged in with a second factor.")
    return welcomed(user)


def _halfway() -> User | None:
    """Who has given the password a short while ago."""
    user_id, until = session.get(HALFWAY, (None, 0.0))
    return services().users.find(user_id) if user_id is not None and time.time() < until else None
