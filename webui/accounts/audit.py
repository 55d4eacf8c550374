"""The audit log: who did what, when, from where, and what came of it."""

from __future__ import annotations

import logging
import threading
import time
from typing import NamedTuple

from sqlalchemy import Select, func, or_, select
from sqlalchemy.exc import DBAPIError

from appliance.store.trouble import trouble
from webui.storage.database import Database
from webui.storage.schema import AuditEntry

log = logging.getLogger(__name__)

PAGE = 50
MOST_WAITING = 1000


class Actor(NamedTuple):
    """Who does something: a user's name, `token NAME`, or what was typed at the log-in."""

    name: str
    address: str


class AuditPage(NamedTuple):
    """`entries` the latest first; `total` of all that fit the question."""

    entries: list[AuditEntry]
    total: int


class AuditLog:
    """Only `add` changes it. What a full disk does not take waits in memory, and is in the log file meanwhile."""

    def __init__(self, database: Database):
        self._database = database
        self._waiting: list[AuditEntry] = []
        self._lock = threading.Lock()
        self.problem = ""
        """Why the latest entries are not written, in a sentence; empty if they are."""

    def add(self, actor: Actor, action: str, was_done: bool, sentence: str, reason: str = "") -> None:
        """Does not fail for want of a disk: what it tells of has been done already."""
        entry = AuditEntry(
            at=time.time(),
            who=actor.name[:100],
            address=actor.address,
            action=action,
            was_done=was_done,
            sentence=sentence,
            reason=reason,
        )
        with self._lock:
            self._waiting = [*self._waiting, entry][-MOST_WAITING:]
        if not self.write_waiting():
            log.error("not in the audit log yet: %s %s %s %s %s", actor.name, action, was_done, sentence, reason)

    def write_waiting(self) -> bool:
        """Write what waits; False, with `problem`, while it cannot be."""
        with self._lock:
            if not self._waiting:
                return True
            try:
                with self._database.begin() as session:
                    session.add_all([_copy(entry) for entry in self._waiting])
            except DBAPIError as error:
                if not (why := trouble(error)):
                    raise
                self.problem = f"The console's database cannot be written, {why}."
                return False
            self._waiting, self.problem = [], ""
            return True

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


def _copy(entry: AuditEntry) -> AuditEntry:
    """What was added to a session that failed belongs to it."""
    names = ("at", "who", "address", "action", "was_done", "sentence", "reason")
    return AuditEntry(**{name: getattr(entry, name) for name in names})
