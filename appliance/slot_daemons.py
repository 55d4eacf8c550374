"""The MPS daemons of the slots: each is started when its slot is first needed, and again when it ends by itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from appliance.attention import Attention
from appliance.mps import MpsDaemon
from engine.errors import SemiPDError

ANSWER_SECONDS = 3.0
"""How long one that is started again may take: nothing else is attended to meanwhile."""
RETRY_SECONDS = 5.0


class SlotDaemons:
    """`make` gives the daemon of a slot; `say` hears in words for a person of those that ended by themselves.

    The workers of the slot are lost with its daemon, and the group with them: the other slot's takes over, whose own
    daemon is untouched.
    """

    def __init__(self, make: Callable[[str], MpsDaemon], attention: Attention, say: Callable[[str], None]):
        self._make = make
        self._attention = attention
        self._say = say
        self._daemons: dict[str, MpsDaemon] = {}
        self._pidfds: dict[str, int] = {}

    def environment(self, slot: str) -> dict[str, str]:
        """What the slot's workers need. Its daemon answers. Raises `CannotStart` or `SemiPDError` where it does not."""
        if slot not in self._daemons:
            daemon = self._make(slot)
            daemon.start()
            self._daemons[slot] = daemon
            self._watch(slot)
        return self._daemons[slot].client_environment

    def expect_ends(self) -> None:
        """From now on none is started again."""
        for slot in list(self._pidfds):
            self._forget(slot)

    def stop(self) -> None:
        """All of them, and their servers. Their clients must be gone."""
        self.expect_ends()
        for daemon in self._daemons.values():
            daemon.stop()

    def _watch(self, slot: str) -> None:
        pid = self._daemons[slot].pid
        if pid is None:
            self._attention.after(0.0, partial(self._start_again, slot))
            return
        self._pidfds[slot] = os.pidfd_open(pid)
        self._attention.watch(self._pidfds[slot], partial(self._ended, slot))

    def _forget(self, slot: str) -> None:
        pidfd = self._pidfds.pop(slot)
        self._attention.forget(pidfd)
        os.close(pidfd)

    def _ended(self, slot: str) -> None:
        self._forget(slot)
        self._say(f"The MPS daemon of slot {slot} has ended: it is started again, and a group of that slot is lost.")
        self._start_again(slot)

    def _start_again(self, slot: str) -> None:
        daemon = self._daemons[slot]
        daemon.stop()  # its servers, if it was killed: they would know clients that the next one does not
        try:
            daemon.start(ANSWER_SECONDS)
        except SemiPDError as error:
            self._say(f"{error} It is tried again in {RETRY_SECONDS:g} s.")
            self._attention.after(RETRY_SECONDS, partial(self._start_again, slot))
        else:
            self._watch(slot)
