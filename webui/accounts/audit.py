"""The audit log: who did what, when, from where, and what came of it."""

from __future__ import annotations

import time
from typing import NamedTuple

from sqlalchemy import Select, func, or_, select

from webui.storage.database import Database
from webui.storage.schema import AuditEntry

PAGE = 50


class Actor(NamedTuple):
    """Who does something: a user's name, `token NAME`, or what was typed at the log-in."""

    name: str
    address: str


class AuditPage(NamedTuple):
    """`entries` the latest first; `total` of all that fit the question."""

    entries: list[AuditEntry]
    total: int


class AuditLog:
    """Only `add` changes it."""

    def __init__(self, database: Database):
        self._database = database

    def add(self, actor: Actor, action: str, was_done: bool, sentence: str, reason: str = "") -> None:
        entry = AuditEntry(
            at=time.time(),
            who=actor.name[:100],
            address=actor.address,
            action=action,
            was_done=was_done,
            sentence=sentence,
            reason=reason,
        )
        with self._database.begin() as session:
            session.add(entry)

    def find(self, words: str = "", action: str = "", page: int = 1, size: int = PAGE) -> AuditPage:
        query = _matching(words, action)
        with self._database.begin() as session:
            total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
            latest_first = query.order_by(AuditEntry.id.desc()).offset((page - 1) * size).limit(size)
            return AuditPage(list(session.scalars(latest_first).all()), total)

    def actions(self) -> list[str]:
        """The kinds there are."""
        with self._database.begin() as session:
            return list(session.scalars(select(AuditEntry.action).distinct().order_by(AuditEntry.action)))


def _matching(words: str, action: str) -> Select[AuditEntry]:
    query = select(AuditEntry)
    if action:
        query = query.where(AuditEntry.action == action)
    for word in words.split():
        fields = (AuditEntry.who, AuditEntry.sentence, AuditEntry.reason, AuditEntry.address)
        query = query.where(or_(*(field.icontains(word, autoescape=True) for field in fields)))
    return query
