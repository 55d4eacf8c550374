"""The second step of a log-in, for who has a second factor: the code."""

from __future__ import annotations

import time
from math import ceil

from flask import Blueprint, redirect, render_template, session, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import StringField
from wtforms.validators import InputRequired, Length

from webui.accounts.second_factors import Opener
from webui.security.limits import TRY_A_PASSWORD, limiter
from webui.services import services
from webui.storage.schema import User
from webui.views.known_browser import is_known, who_tries
from webui.views.login import HALFWAY, password_mark, welcomed
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
    form, back_off, user = CodeForm(), services().back_off, _halfway()
    if user is None:
        return redirect(url_for("login.page"), 303)
    tries = _counted(user)
    if wait := max(map(back_off.wait_seconds, tries)):
        form.form_errors.append(f"Too many wrong codes from here: try again in {ceil(wait)} s.")
        return render_template("login_code.html", form=form), 429, {"Retry-After": str(ceil(wait))}
    opener = services().second_factors.opened_by(user.id, form.code.data or "") if form.validate() else None
    if opener is None:
        for who in tries:
            back_off.failed(who)
        services().audit.add(someone(user.name), "login", False, "The password was right, the code was wrong.")
        form.form_errors.append("This code is not right, or was used before: wait for the next one.")
        return render_template("login_code.html", form=form), 401
    for who in tries:
        back_off.succeeded(who)
    services().audit.add(someone(user.name), "login", True, f"Logged in with {opener}{_left(user, opener)}.")
    return welcomed(user)


def _counted(user: User) -> list[str]:
    """Whose tries are counted: who has learnt a password may have many addresses, so what strangers try at one user is
    counted together too. A browser that is known waits for nobody else."""
    tries = [who_tries()]
    return tries if is_known() else [*tries, f"strangers' codes for {user.id}"]


def _left(user: User, opener: Opener) -> str:
    """What the owner should know of recovery codes."""
    return f", {services().second_factors.recovery_codes_left(user.id)} are left" if opener is Opener.RECOVERY else ""


def _halfway() -> User | None:
    """Who has given the password that holds a short while ago."""
    user_id, mark, until = session.get(HALFWAY, (None, "", 0.0))
    user = services().users.find(user_id) if user_id is not None and time.time() < until else None
    return user if user is not None and password_mark(user) == mark else None
