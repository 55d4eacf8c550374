"""What people change, by page or by API: each change is asked of the controller and put in the audit log."""

from __future__ import annotations

import json
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import NamedTuple

from appliance.control.messages import (
    AddKey,
    AskRotation,
    Command,
    Reply,
    RestartUnit,
    RestoreBackup,
    RevokeKey,
    SetMode,
    SetTarget,
)
from engine.allocation import SMAllocation
from webui.accounts.audit import Actor, AuditLog
from webui.controller import ROTATION_SECONDS, Controller

DAY = 86400
RESTART_SECONDS = 180.0
RESTORE_SECONDS = 180.0


class PolicyChange(NamedTuple):
    """New targets and what the policy goes by; None: as it was. Units are in the names, confidence is from 0 to 1."""

    ttft_ms: float | None = None
    tpot_ms: float | None = None
    window_seconds: float | None = None
    cooldown_seconds: float | None = None
    min_confidence: float | None = None


class KeyWish(NamedTuple):
    """A key that somebody wants; None: it does not expire, it is not limited."""

    name: str
    scopes: tuple[str, ...] = ("inference",)
    days: int | None = None
    requests_per_minute: int | None = None


class Changes:
    """`actor` answers for the change; `reason` is kept with it."""

    def __init__(self, controller: Controller, audit: AuditLog):
        self._controller = controller
        self._audit = audit
        self._begun: list[Future[Reply]] = []
        self._waiting = ThreadPoolExecutor(4, thread_name_prefix="rotation")

    def set_policy(self, actor: Actor, change: PolicyChange, reason: str) -> Reply:
        command = SetTarget(**change._asdict(), by=_by(actor), reason=reason)
        return self._make(actor, "slo.target", command, reason)

    def set_mode(self, actor: Actor, mode: str, reason: str = "") -> Reply:
        return self._make(actor, "slo.mode", SetMode(mode, _by(actor), reason), reason)

    def rotate(self, actor: Actor, split: SMAllocation, reason: str, new_group: bool = False) -> Reply:
        """Returns when the split is live or was given up."""
        why = f"{reason}, {_by(actor)}" if reason else _by(actor)
        command = AskRotation(split.prefill_percentage, split.decode_percentage, new_group, why)
        return self._make(actor, "split.rotate", command, reason, ROTATION_SECONDS)

    def begin_rotation(self, actor: Actor, split: SMAllocation, reason: str, new_group: bool = False) -> Future[Reply]:
        """As `rotate`, for those who watch it happen instead of waiting."""
        self._audit.add(actor, "split.ask", True, f"Asked for {split}.", reason)
        begun = self._waiting.submit(self.rotate, actor, split, reason, new_group)
        self._begun = [*(one for one in self._begun if not one.done()), begun]
        return begun

    def restart_unit(self, actor: Actor, name: str) -> Reply:
        """Returns when it is ready again."""
        return self._make(actor, "unit.restart", RestartUnit(name, _by(actor)), seconds=RESTART_SECONDS)

    def wait(self) -> None:
        """Until the rotations that were begun are concluded."""
        wait(self._begun)

    def add_key(self, actor: Actor, wish: KeyWish) -> Reply:
        """The reply's `data` has the key, which nobody can show again."""
        expires_at = None if wish.days is None else time.time() + wish.days * DAY
        command = AddKey(wish.name, _by(actor), wish.scopes, expires_at, wish.requests_per_minute)
        return self._make(actor, "key.add", command)

    def revoke_key(self, actor: Actor, name: str) -> Reply:
        return self._make(actor, "key.revoke", RevokeKey(name, _by(actor)))

    def restore(self, actor: Actor, name: str) -> Reply:
        """Put one of the backups beside the database in its place; returns when it is."""
        return self._make(actor, "restore", RestoreBackup(name, _by(actor)), seconds=RESTORE_SECONDS)

    def _make(self, actor: Actor, action: str, command: Command, reason: str = "", seconds: float = 5.0) -> Reply:
        """Ask for a change and record what came of it."""
        reply = self._controller.ask(command, seconds)
        self._audit.add(actor, action, reply.done, reply.sentence, reason)
        return reply


def key_in(reply: Reply) -> str:
    """The key that an answered `AddKey` tells."""
    return json.loads(reply.data)["key"]


def _by(actor: Actor) -> str:
    return f"console:{actor.name}"
