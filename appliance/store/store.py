"""The controller's memory in one object: what it remembers is written here, and survives it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from appliance.mps import visible_gpu
from appliance.store import journal, restoration, targets
from appliance.store.backup import back_up_daily, keep_replaced
from appliance.store.database import open_database
from appliance.store.gpu_meter import GpuMeter
from appliance.store.history import History
from appliance.store.housekeeping import Chore, Housekeeping
from appliance.store.journal import Journal
from appliance.store.key_book import KeyBook
from appliance.store.reading import FILE, StoreUnreadable, reading
from appliance.store.restoration import Restored
from appliance.store.rollup import forget_old, roll_up
from appliance.store.sampler import Sampler
from appliance.store.targets import PolicySettings
from appliance.store.trouble import StoreUnavailable
from appliance.store.writer import Writer
from engine.config import PortArgs, ServerArgs
from engine.wire.to_controller import LoadReport

log = logging.getLogger(__name__)

MINUTE, HOUR, DAY = 60, 3600, 86400


class Store:
    """`appliance.db` in `state_dir`. Whoever makes one has that directory to itself (`Instance.claim`).

    Once started, nothing that happens to the disk stops the appliance: `status` tells what cannot be kept, and why.
    """

    def __init__(self, state_dir: Path, ports: PortArgs):
        self.path = state_dir / FILE
        run = int(time.time() * 1000)
        self._writer = Writer("The database", lambda: open_database(self.path), self._said)
        self.journal = Journal(self._writer, run)
        self.keys = KeyBook(state_dir, self._writer, ports)
        self.history = History(state_dir, run)
        self._policy: PolicySettings | None = None
        self._sampler: Sampler | None = None
        self._gpu: GpuMeter | None = None
        self._chores: Housekeeping | None = None

    # ── life ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Open the database and bring it to this release's revision. Raises `CannotStart` if a newer one wrote it."""
        self._writer.start()
        self.journal.event("start", "The controller started.")

    def watch(self, status: Callable[[], dict[str, Any]], settings: ServerArgs) -> None:
        """Keep metrics from now on, of what `status` says, and of the GPU if it is on one."""
        if settings.device == "cuda":
            self._gpu = GpuMeter(visible_gpu(settings.gpu, os.environ))
            self._gpu.start()
        self._sampler = Sampler(self._writer, status, lambda: self._gpu.latest if self._gpu else None)
        self._chores = Housekeeping(
            (
                Chore("sample", 1, self._sampler.sample),
                Chore("keys", MINUTE, self.keys.look),
                Chore("sum-up", MINUTE, lambda: self._tidy(roll_up)),
                Chore("forget", HOUR, lambda: self._tidy(forget_old)),
                Chore("backup", DAY, lambda: back_up_daily(self.path, time.time())),
            )
        )
        self._chores.start()

    def observe(self, report: LoadReport) -> None:
        """What the scheduler says of its requests."""
        if self._sampler is not None:
            self._sampler.observe(report)

    def stop_watching(self) -> None:
        """Before what `status` asks goes away."""
        if self._chores is not None:
            self._chores.stop()
            self._chores = None
            self.keys.look()
        if self._gpu is not None:
            self._gpu.stop()

    def stop(self) -> None:
        """Write what is left, and close the database."""
        self.stop_watching()
        self.journal.event("stop", "The controller stopped.")
        self._writer.stop()
        self.keys.close()

    # ── targets ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def settle(self, settings: ServerArgs, given: Collection[str], user: str) -> tuple[ServerArgs, str]:
        """The settings to start with, the targets that were set last among them, and a sentence that says so.

        `given`: the fields that were asked for at this very start, and win.
        """
        try:
            with reading(self.path.parent) as connection:
                kept = targets.kept(connection)
        except StoreUnreadable:
            kept = None
        settled = targets.settle(settings, kept, given)
        if settled.reason:
            try:
                self._keep(settled.settings, user, settled.reason)
            except StoreUnavailable as error:
                log.error("%s", error)
        self._policy = settled.settings
        return targets.applied(settings, settled.settings), settled.sentence

    def change_policy(self, set_by: str, reason: str, **changes: Any) -> PolicySettings:
        """On the disk when this returns: what holds from now on. Those that are None stay.

        Raises `ValueError` for what cannot be, and `StoreUnavailable`.
        """
        assert self._policy is not None, "targets are settled before they are changed"
        settings = self._policy.changed(**changes)
        settings.check()
        self._keep(settings, set_by or "somebody", reason)
        self._policy = settings
        return settings

    def _keep(self, settings: PolicySettings, set_by: str, reason: str) -> None:
        now = time.time()
        self._writer.change(lambda connection: targets.keep(connection, settings, set_by, reason, now))

    # ── backups ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def restore(self, name: str, by: str) -> Restored:
        """Have the backup of that name in the database's place, at once; what was there is one more backup.

        Raises `BackupRefused`, `CannotStart`, `StoreUnreadable` or `StoreUnavailable`; then nothing has changed.
        """
        restored = self.keys.replace(lambda: self._restored(restoration.backup_named(name, self.path)))
        self._policy = restored.policy or self._policy
        self.journal.event("restore", f"{restored.sentence} Asked for by {by or 'somebody'}.")
        return restored

    def _restored(self, backup: Path) -> Restored:
        made_at = backup.stat().st_mtime
        with restoration.draft_of(backup, self.path) as draft:
            with reading(draft.parent) as connection:
                kept = targets.kept(connection)
            kept_as = self._writer.replace(lambda connection: self._taken_in(draft, connection))
        restoration.forget_replaced(self.path)
        policy = targets.of_row(kept) if kept else None
        return Restored(restoration.sentence_of(backup, made_at, kept_as, policy), policy)

    def _taken_in(self, draft: Path, connection: Connection) -> Path | None:
        """In the writer's thread, so that nothing is written between the copy of what was there and its end."""
        kept_as = keep_replaced(self.path, time.time())
        restoration.take_in(draft, connection)
        return kept_as

    # ── status ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def status(self) -> dict[str, Any]:
        """As `Writer.status`, and where the database is."""
        return {"path": str(self.path), **self._writer.status}

    def _tidy(self, chore: Callable[[Connection, float], None]) -> None:
        self._writer.sample(lambda connection: chore(connection, time.time()))

    def _said(self, sentence: str) -> None:
        self._writer.record(journal.event("store", sentence, time.time()))
