"""The present password, asked for again before an account changes: who only found an open browser does not know it."""

from __future__ import annotations

from math import ceil

from webui.accounts.users import Refused
from webui.services import services
from webui.views.people import actor, person


def require_consent(password: str, action: str) -> None:
    """Raises `Refused` for a wrong password, which is in the audit log then, or for one too many.

    Tries are counted by session: whoever has taken one over makes nobody else wait, and has no other to go on with.
    """
    back_off, tries = services().back_off, f"session {person().session_id}"
    if wait := back_off.wait_seconds(tries):
        raise Refused(f"Too many wrong passwords from here: try again in {ceil(wait)} s.")
    try:
        services().users.require_password(person().user_id, password)
    except Refused as refused:
        back_off.failed(tries)
        services().audit.add(actor(), action, False, str(refused))
        raise
    back_off.succeeded(tries)
