"""Log-in and log-out, and the rule that every other page needs a log-in."""

from __future__ import annotations

import time
from math import ceil

from flask import Blueprint, Response, abort, flash, make_response, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import LoginManager, current_user, login_user, logout_user
from flask_wtf import FlaskForm
from wtforms import PasswordField, StringField
from wtforms.validators import InputRequired, Length

from webui.accounts.passwords import MOST_CHARACTERS
from webui.accounts.sessions import LoggedIn, digest
from webui.security.limits import TRY_A_PASSWORD, limiter
from webui.services import services
from webui.storage.schema import User
from webui.views.known_browser import remember_browser, who_tries
from webui.views.people import actor, browser, person, someone

blueprint = Blueprint("login", __name__)
manager = LoginManager()

HALFWAY = "halfway"
"""In the signed cookie: whose password was right, which password that was, and until when it counts."""
HALFWAY_SECONDS = 300.0

FOR_EVERYONE = {
    *("static", "login.page", "login.log_in", "login_code.page", "login_code.give"),
    *("first_run.page", "first_run.claim"),
}


class LoginForm(FlaskForm):
    """Name and password."""

    name = StringField("Name", [InputRequired(), Length(max=100)])
    password = PasswordField("Password", [InputRequired(), Length(max=MOST_CHARACTERS)])


@manager.user_loader
def _find(token: str) -> LoggedIn | None:
    return services().sessions.find(token)


@blueprint.before_app_request
def _require_login() -> ResponseReturnValue | None:
    """Whatever is not said to be for everyone; the API looks for itself, it knows tokens too."""
    if request.routing_exception is not None:
        return None
    if request.endpoint in FOR_EVERYONE or request.blueprint == "api" or current_user.is_authenticated:
        return None
    where = url_for("login.page" if services().users.is_claimed else "first_run.page")
    if request.headers.get("HX-Request"):
        return Response(status=204, headers={"HX-Redirect": where})
    if request.method != "GET" or request.accept_mimetypes.best in ("text/event-stream", "application/json"):
        abort(401, "Nobody is logged in here any more: load the page again.")
    return redirect(where)


@blueprint.get("/login")
def page() -> ResponseReturnValue:
    if current_user.is_authenticated:
        return redirect(url_for("overview.page"))
    if not services().users.is_claimed:
        return redirect(url_for("first_run.page"))
    return render_template("login.html", form=LoginForm())


@blueprint.post("/login")
@limiter.limit(TRY_A_PASSWORD, key_func=who_tries)
def log_in() -> ResponseReturnValue:
    form, back_off = LoginForm(), services().back_off
    if not form.validate():
        return render_template("login.html", form=form), 400
    tries = who_tries()
    if wait := back_off.wait_seconds(tries):
        form.form_errors.append(f"Too many wrong passwords from here: try again in {ceil(wait)} s.")
        return render_template("login.html", form=form), 429, {"Retry-After": str(ceil(wait))}
    name, password = form.name.data or "", form.password.data or ""
    user = services().users.log_in(name, password)
    if user is None:
        back_off.failed(tries)
        services().audit.add(someone(name), "login", False, "Name or password were wrong.")
        form.form_errors.append("Name or password are wrong.")
        return render_template("login.html", form=form), 401
    if needs_code(user):
        services().audit.add(someone(user.name), "login.password", True, "The password was right; a code is asked for.")
        return halfway(user)
    back_off.succeeded(tries)
    services().audit.add(someone(user.name), "login", True, "Logged in.")
    return welcomed(user)


def needs_code(user: User) -> bool:
    """Whether the password is not enough."""
    if services().second_factors.heed_the_command_line(user.id):
        services().audit.add(
            someone("command line"), "second-factor.remove", True, "Removed: somebody at the machine said it is lost."
        )
    return services().second_factors.is_on(user.id)


def halfway(user: User) -> ResponseReturnValue:
    """To the page that asks for the code; nobody is logged in yet."""
    session.clear()
    session[HALFWAY] = [user.id, password_mark(user), time.time() + HALFWAY_SECONDS]
    return redirect(url_for("login_code.page"), 303)


def password_mark(user: User) -> str:
    """Tells one password from the next: who was halfway with the old one begins again."""
    return digest(user.password_hash)[:16]


def welcomed(user: User) -> Response:
    """Logged in, with a session that did not exist before, and known from now on."""
    session.clear()
    login_user(services().sessions.begin(user, browser()))
    response = make_response(redirect(url_for("overview.page"), 303))
    remember_browser(response, services().config)
    return response


@blueprint.post("/logout")
def log_out() -> ResponseReturnValue:
    services().audit.add(actor(), "logout", True, "Logged out.")
    services().sessions.end(person().user_id, person().session_id)
    logout_user()
    session.clear()
    flash("You are logged out.", "success")
    return redirect(url_for("login.page"), 303)
