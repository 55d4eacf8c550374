"""The MPS daemons of the slots: each is started when its slot is first needed, and again when it ends by itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from functools import partial

from appliance.attention import Attention
from appliance.mps import MpsDaemon
from engine.errors import SemiPDError

ANSWER_SECONDS = 3.0
"""How long one that is started again may take: nothing else is attended to meanwhile."""
RETRY_SECONDS = 5.0
PATIENCE_SECONDS = 5.0
"""How long one that is asked may be silent: longer than it takes on a busy machine, for it is killed then."""


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

    def ask(self, slot: str) -> None:
        """A group of the slot was lost: does its daemon answer? The next group could not begin with one that hangs,
        which is killed, and then started again as any that has ended."""
        if slot not in self._pidfds:
            return
        try:
            asking = self._daemons[slot].begin_asking()
            pidfd = os.pidfd_open(asking.pid)
        except OSError as error:
            self._say(f"The MPS daemon of slot {slot} could not be asked whether it answers: {error}.")
            return
        self._attention.watch(pidfd, partial(self._asked, asking, pidfd))
        self._attention.after(PATIENCE_SECONDS, partial(self._waited, slot, asking, self._daemons[slot].pid))

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

    def _asked(self, asking: subprocess.Popen[bytes], pidfd: int) -> None:
        self._attention.forget(pidfd)
        os.close(pidfd)
        asking.wait()

    def _waited(self, slot: str, asking: subprocess.Popen[bytes], asked: int | None) -> None:
        if asking.poll() is not None:
            return
        asking.kill()
        asking.wait()  # at once, after SIGKILL: nothing is left of it, whoever attends next
        if slot in self._pidfds and self._daemons[slot].pid == asked:
            self._say(f"The MPS daemon of slot {slot} has not answered for {PATIENCE_SECONDS:g} s: it is killed.")
            self._daemons[slot].kill()

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
