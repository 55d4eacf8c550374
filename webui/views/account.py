"""One's own account: the password, and the browsers that are logged in."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import PasswordField
from wtforms.validators import EqualTo, InputRequired, Length

from webui.accounts.passwords import MOST_CHARACTERS
from webui.accounts.users import Refused
from webui.security.limits import TRY_A_PASSWORD, limiter
from webui.services import services
from webui.views.consent import require_consent
from webui.views.known_browser import who_tries
from webui.views.people import actor, person

blueprint = Blueprint("account", __name__, url_prefix="/account")


class PasswordForm(FlaskForm):
    """The present password, and the new one twice."""

    present = PasswordField("Present password", [InputRequired(), Length(max=MOST_CHARACTERS)])
    new = PasswordField("New password", [InputRequired(), Length(max=MOST_CHARACTERS)])
    again = PasswordField("New password again", [InputRequired(), EqualTo("new", "The two passwords differ.")])


@blueprint.get("/")
def page() -> ResponseReturnValue:
    return _page(PasswordForm())


@blueprint.post("/password")
@limiter.limit(TRY_A_PASSWORD, key_func=who_tries)
def change_password() -> ResponseReturnValue:
    form = PasswordForm()
    if not form.validate():
        return _page(form), 400
    try:
        require_consent(form.present.data or "", "password")
        services().users.set_password(person().user_id, form.new.data or "")
    except Refused as refused:
        form.form_errors.append(str(refused))
        return _page(form), 400
    services().sessions.end_all(person().user_id, but=person().session_id)
    services().audit.add(actor(), "password", True, "Changed the password; other sessions ended.")
    flash("The password is changed, and every other session has ended.", "success")
    return redirect(url_for("account.page"), 303)


@blueprint.post("/sessions/<int:session_id>/end")
def end_session(session_id: int) -> ResponseReturnValue:
    was_there = services().sessions.end(person().user_id, session_id)
    sentence = "The session has ended." if was_there else "This session had ended already."
    services().audit.add(actor(), "session.end", was_there, sentence)
    flash(sentence, "success")
    return redirect(url_for("account.page"), 303)


def _page(form: PasswordForm) -> str:
    sessions = services().sessions.of_user(person().user_id)
    return render_template(
        "account.html",
        form=form,
        sessions=sessions,
        own=person().session_id,
        has_second_factor=services().second_factors.is_on(person().user_id),
    )
