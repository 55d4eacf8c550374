"""What is asked for again before power is given away: who found an open browser has neither password nor device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil

from webui.accounts.users import Refused
from webui.services import services
from webui.views.people import actor, person


def require_consent(password: str, action: str) -> None:
    """The present password. Raises `Refused` for a wrong one, which is in the audit log then, or for one too many."""
    with _one_try(action):
        services().users.require_password(person().user_id, password)


def require_code(code: str, action: str) -> None:
    """A code of the second factor, from those who have one. Raises `Refused` as `require_consent` does."""
    factors, user_id = services().second_factors, person().user_id
    if not factors.is_on(user_id):
        return
    if not code:
        raise Refused("This needs a code of your second factor.")
    with _one_try(action):
        if factors.opened_by(user_id, code) is None:
            raise Refused("This code is not right, or was used before: wait for the next one.")


@contextmanager
def _one_try(action: str) -> Iterator[None]:
    """Tries are counted by session: whoever took one over makes nobody else wait, and has no other to go on with."""
    back_off, tries = services().back_off, f"session {person().session_id}"
    if wait := back_off.wait_seconds(tries):
        raise Refused(f"Too many wrong passwords or codes from here: try again in {ceil(wait)} s.")
    try:
        yield
    except Refused as refused:
        back_off.failed(tries)
        services().audit.add(actor(), action, False, str(refused))
        raise
    back_off.succeeded(tries)
