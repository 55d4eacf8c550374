"""Browsers that are logged in. A session ends by logout, by age, by idling, or because somebody ended it."""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import NamedTuple

from flask_login import UserMixin
from sqlalchemy import delete, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from appliance.store.trouble import trouble
from webui.storage.database import Database
from webui.storage.schema import LoginSession, User

LONGEST_SECONDS = 14 * 86400.0
IDLE_SECONDS = 2 * 86400.0
SEEN_EVERY_SECONDS = 60.0
"""How exact `last_seen_at` is; a write for each request would be one too many."""


class Browser(NamedTuple):
    """Where a request came from."""

    address: str
    agent: str


class LoggedIn(UserMixin):
    """The user of a request, by the session it came in: Flask-Login keeps the session's token in its cookie."""

    def __init__(self, token: str, session_id: int, user_id: int, name: str):
        self.token, self.session_id, self.user_id, self.name = token, session_id, user_id, name

    def get_id(self) -> str:
        return self.token


class Sessions:
    """Sessions in the database, by the SHA-256 of their token."""

    def __init__(self, database: Database):
        self._database = database

    def begin(self, user: User, browser: Browser) -> LoggedIn:
        """A new session with a token that nobody has seen; expired ones of all users go."""
        token, now = secrets.token_urlsafe(32), time.time()
        row = LoginSession(
            token_sha256=digest(token),
            user_id=user.id,
            created_at=now,
            last_seen_at=now,
            expires_at=now + LONGEST_SECONDS,
            address=browser.address,
            agent=browser.agent[:200],
        )
        with self._database.begin() as session:
            session.execute(delete(LoginSession).where(LoginSession.expires_at < now))
            session.add(row)
            session.flush()
            return LoggedIn(token, row.id, user.id, user.name)

    def find(self, token: str) -> LoggedIn | None:
        """Who is logged in with this token."""
        with self._database.begin() as session:
            row = self._live(session, token)
            if row is None:
                return None
            user = session.get_one(User, row.user_id)
        if time.time() - row.last_seen_at > SEEN_EVERY_SECONDS:
            self._note_seen(row.id)
        return LoggedIn(token, row.id, user.id, user.name)

    def _note_seen(self, session_id: int) -> None:
        """Where the disk is full, pages are shown nonetheless."""
        try:
            with self._database.begin() as session:
                if (row := session.get(LoginSession, session_id)) is not None:
                    row.last_seen_at = time.time()
        except DBAPIError as error:
            if not trouble(error):
                raise

    def of_user(self, user_id: int) -> list[LoginSession]:
        """The latest first."""
        query = select(LoginSession).where(LoginSession.user_id == user_id, LoginSession.expires_at > time.time())
        with self._database.begin() as session:
            return list(session.scalars(query.order_by(LoginSession.last_seen_at.desc())))

    def end(self, user_id: int, session_id: int) -> bool:
        """False if the user has no such session."""
        with self._database.begin() as session:
            row = session.get(LoginSession, session_id)
            if row is None or row.user_id != user_id:
                return False
            session.delete(row)
            return True

    def end_all(self, user_id: int, but: int | None = None) -> None:
        """All sessions of a user, but one."""
        ended = delete(LoginSession).where(LoginSession.user_id == user_id)
        with self._database.begin() as session:
            session.execute(ended if but is None else ended.where(LoginSession.id != but))

    def _live(self, session: Session, token: str) -> LoginSession | None:
        row = session.scalars(select(LoginSession).where(LoginSession.token_sha256 == digest(token))).one_or_none()
        now = time.time()
        if row is None or row.expires_at < now or row.last_seen_at < now - IDLE_SECONDS:
            return None
        return row


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
