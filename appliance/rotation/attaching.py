"""The way of a controller that did not start the processes: it asks what there is, and hears when a leader ends."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from appliance.attention import Attention
from appliance.rotation.finding import Found, found
from appliance.rotation.links import Links
from engine.allocation import SMAllocation
from engine.config import SLOTS
from engine.wire.to_controller import Groups, Status

ASK_AGAIN_SECONDS = 0.5
"""What is sent to a process that is ending may be lost."""


class Attaching:
    """`on_found` hears once what there is; `on_leader` of a slot whose leader has ended, and that it is back.

    To be used in the attending thread.
    """

    def __init__(
        self,
        links: Links,
        attention: Attention,
        otherwise: SMAllocation,
        keeps_warm: bool,
        on_found: Callable[[Found], None],
        on_leader: Callable[[str, bool], None],
    ):
        self._links = links
        self._attention = attention
        self._otherwise = otherwise
        self._keeps_warm = keeps_warm
        self._on_found = on_found
        self._on_leader = on_leader
        self._status: Status | None = None
        self._groups: dict[str, Groups] = {}
        self._is_found = False
        self._pidfds: dict[str, int] = {}

    @property
    def leader_pids(self) -> dict[str, int]:
        """Process ids of the leaders that have answered, by slot."""
        return {slot: groups.leader_pid for slot, groups in self._groups.items()}

    def begin(self) -> None:
        """Ask everyone. Who watches before asking misses nothing that happens in between."""
        self._links.on_groups(self._take_groups)
        self._links.watch_groups()
        self._links.ask_status(self._take_status)
        for slot in SLOTS:
            self._ask(slot)

    def close(self) -> None:
        """Watch no leader any more."""
        for slot in list(self._pidfds):
            self._unwatch(slot)

    def _ask(self, slot: str) -> None:
        if slot not in self._groups:
            self._links.ask_groups(slot)
            self._attention.after(ASK_AGAIN_SECONDS, partial(self._ask, slot))

    def _take_status(self, status: Status) -> None:
        self._status = status
        self._see()

    def _take_groups(self, groups: Groups) -> None:
        if groups.slot in self._groups:
            return
        try:
            pidfd = os.pidfd_open(groups.leader_pid)
        except ProcessLookupError:
            return  # it has ended since: the next one will be asked
        self._groups[groups.slot] = groups
        self._pidfds[groups.slot] = pidfd
        self._attention.watch(pidfd, partial(self._leader_ended, groups.slot))
        if self._is_found:
            self._on_leader(groups.slot, True)
        else:
            self._see()

    def _see(self) -> None:
        if self._status is not None and len(self._groups) == len(SLOTS) and not self._is_found:
            self._is_found = True
            self._on_found(found(self._status, self._groups.values(), self._otherwise, keeps_warm=self._keeps_warm))

    def _leader_ended(self, slot: str) -> None:
        self._unwatch(slot)
        del self._groups[slot]
        self._ask(slot)
        if self._is_found:
            self._on_leader(slot, False)

    def _unwatch(self, slot: str) -> None:
        pidfd = self._pidfds.pop(slot)
        self._attention.forget(pidfd)
        os.close(pidfd)
