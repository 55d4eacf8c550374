"""Users: the one who claims the console, and what a log-in checks."""

from __future__ import annotations

import time

from sqlalchemy import func, select

from webui.accounts.passwords import Passwords, password_problem
from webui.storage.database import Database
from webui.storage.schema import User


class Refused(Exception):
    """What was asked for is not done; the message is one sentence for whoever asked."""


class Users:
    """Raises `Refused` where a password will not do."""

    def __init__(self, database: Database, passwords: Passwords):
        self._database = database
        self._passwords = passwords

    @property
    def is_claimed(self) -> bool:
        with self._database.begin() as session:
            return bool(session.scalar(select(func.count()).select_from(User)))

    def claim(self, name: str, password: str) -> User:
        """The first user of a new console; later, by a token from the command line, the same user's new password."""
        self._require(name, password)
        kept = self._passwords.hash(password)
        with self._database.begin() as session:
            user = session.scalars(select(User).order_by(User.id).limit(1)).one_or_none()
            if user is None:
                user = User(name=name, password_hash=kept, created_at=time.time())
                session.add(user)
            user.name, user.password_hash = name, kept
            session.flush()
            return user

    def log_in(self, name: str, password: str) -> User | None:
        """The user whose name and password these are."""
        with self._database.begin() as session:
            user = session.scalars(select(User).where(User.name == name)).one_or_none()
        kept = user.password_hash if user else None
        return user if self._passwords.is_right(password, kept) else None

    def find(self, user_id: int) -> User | None:
        with self._database.begin() as session:
            return session.get(User, user_id)

    def require_password(self, user_id: int, password: str) -> None:
        """Raises `Refused` unless it is this user's."""
        user = self.find(user_id)
        if user is None or not self._passwords.is_right(password, user.password_hash):
            raise Refused("The present password is not right.")

    def set_password(self, user_id: int, new: str) -> None:
        with self._database.begin() as session:
            name = session.get_one(User, user_id).name
        self._require(name, new)
        kept = self._passwords.hash(new)
        with self._database.begin() as session:
            session.get_one(User, user_id).password_hash = kept

    def _require(self, name: str, password: str) -> None:
        if problem := password_problem(password, name):
            raise Refused(problem)
