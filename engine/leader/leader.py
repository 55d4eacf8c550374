"""Forms groups on order and tells the controller what became of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import zmq

from engine.allocation import Phase, SMAllocation, Splitter
from engine.config import PortArgs
from engine.device.environment import MPS_PERCENTAGE
from engine.fault_point import FaultPoint, reached
from engine.leader.spares import Spare, start_spare
from engine.systemd import Watchdog, notify_ready
from engine.wire.codec import Message
from engine.wire.to_controller import (
    FROM_LEADER,
    FormedGroup,
    GroupGone,
    GroupLost,
    Groups,
    GroupStarted,
    SparesReady,
)
from engine.wire.to_leader import TO_LEADER, AskGroups, FormGroup, KeepSpares, KillGroup
from engine.wire.to_worker import Assignment


@dataclass(eq=False)
class Group:
    """The processes of one epoch that are still there, and how those that ended badly ended."""

    order: FormGroup
    members: dict[int, Spare]
    problems: list[str] = field(default_factory=list)

    @property
    def epoch(self) -> int:
        return self.order.epoch

    @property
    def description(self) -> FormedGroup:
        order = self.order
        return FormedGroup(order.epoch, order.prefill_percentage, order.decode_percentage, tuple(self.members))


class Leader:
    """One slot's leader. It answers whoever spoke to it last: there is one controller."""

    def __init__(self, slot: str, ports: PortArgs, splitter: Splitter, log):
        self._slot = slot
        self._ports = ports
        self._splitter = splitter
        self._log = log
        self._wanted_spares = 0
        self._spares: list[Spare] = []
        self._groups: dict[int, Group] = {}
        self._latest_epoch = 0
        self._watched: dict[int, Callable[[], None]] = {}
        self._controller: bytes | None = None
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.bind(ports.leader_address(slot))
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)

    def run(self) -> None:
        """Serve until TERM; then dismiss the spares and end with the groups that are left."""
        stop_read, stop_write = os.pipe()
        signal.signal(signal.SIGTERM, lambda *_: os.write(stop_write, b"\0"))
        self._poller.register(stop_read, zmq.POLLIN)
        watchdog = Watchdog()
        notify_ready(f"Slot {self._slot} takes orders.")
        while True:
            ready = dict(self._poller.poll(watchdog.patience_ms))
            if stop_read in ready:
                break
            if self._socket in ready:
                self._obey()
            for fd in [fd for fd in ready if fd in self._watched]:
                self._watched[fd]()
            watchdog.feed()
        self._end()

    # ── orders ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _obey(self) -> None:
        self._controller, data = self._socket.recv_multipart()
        match TO_LEADER.decode(data):
            case FormGroup() as order:
                self._form_group(order)
            case KeepSpares(count):
                self._wanted_spares = 0 if self._splitter is Splitter.MPS else count  # `_members` says why
                self._fill_spares(count, urgent=False)
                self._tell_if_spares_ready()
            case KillGroup(epoch):
                for member in self._groups[epoch].members.values() if epoch in self._groups else ():
                    member.process.kill()
            case AskGroups():
                groups = tuple(group.description for group in self._groups.values())
                self._tell(Groups(self._slot, os.getpid(), self._latest_epoch, groups))

    def _form_group(self, order: FormGroup) -> None:
        roles = [tuple(Phase)] if order.colocated else [(phase,) for phase in Phase]
        members = self._members(order, roles)
        for phases, member in zip(roles, members, strict=True):
            member.assign(self._assignment(order, phases))
            self._watch_end(member, order.epoch)
            reached(FaultPoint.LEADER_ASSIGNS)
        self._groups[order.epoch] = Group(order, {member.pid: member for member in members})
        self._latest_epoch = max(self._latest_epoch, order.epoch)
        self._log.info("group started", epoch=order.epoch, pids=[member.pid for member in members])
        reached(FaultPoint.LEADER_FORMED)
        self._tell(GroupStarted(self._slot, order.epoch, tuple(member.pid for member in members)))

    def _assignment(self, order: FormGroup, phases: tuple[Phase, ...]) -> Assignment:
        return Assignment(
            epoch=order.epoch,
            slot=self._slot,
            phases=phases,
            prefill_percentage=order.prefill_percentage,
            decode_percentage=order.decode_percentage,
            prepare=order.prepare,
        )

    def _members(self, order: FormGroup, roles: Sequence[tuple[Phase, ...]]) -> list[Spare]:
        """Spares, but not with `mps`: a share counts only if it stands in the environment in which a process begins."""
        if self._splitter is Splitter.MPS and not order.colocated:
            split = SMAllocation(order.prefill_percentage, order.decode_percentage)
            shares = [{MPS_PERCENTAGE: str(split.share(phase))} for (phase, *_) in roles]
            return [start_spare(self._ports, urgent=True, environment=share) for share in shares]
        self._fill_spares(len(roles), urgent=True)
        return [self._take_spare() for _ in roles]

    # ── spares ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _fill_spares(self, count: int, urgent: bool) -> None:
        while len(self._spares) < count:
            spare = start_spare(self._ports, urgent)
            self._spares.append(spare)
            self._watch(spare.output_fd, lambda spare=spare: self._spare_spoke(spare))

    def _take_spare(self) -> Spare:
        """One that has finished its imports rather than one that has not; one that has ended unnoticed is none."""
        while True:
            spare = max(self._spares, key=lambda spare: spare.is_ready)
            self._spares.remove(spare)
            self._unwatch(spare.output_fd)
            if spare.process.poll() is None:
                return spare
            self._fill_spares(1, urgent=True)

    def _spare_spoke(self, spare: Spare) -> None:
        if spare.read_output():
            self._tell_if_spares_ready()
            return
        self._unwatch(spare.output_fd)
        self._spares.remove(spare)
        self._log.error("spare ended", worker_pid=spare.pid, exit_code=spare.process.wait())
        if spare.is_ready:  # one that cannot finish its imports would end again and again
            self._fill_spares(self._wanted_spares, urgent=False)

    def _tell_if_spares_ready(self) -> None:
        if len(self._spares) >= self._wanted_spares and all(spare.is_ready for spare in self._spares):
            self._tell(SparesReady(self._slot, tuple(spare.pid for spare in self._spares)))

    # ── groups ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _watch_end(self, member: Spare, epoch: int) -> None:
        pidfd = os.pidfd_open(member.pid)

        def ended() -> None:
            self._unwatch(pidfd)
            os.close(pidfd)
            self._member_ended(self._groups[epoch], member)

        self._watch(pidfd, ended)

    def _member_ended(self, group: Group, member: Spare) -> None:
        code = member.process.wait()
        del group.members[member.pid]
        reached(FaultPoint.LEADER_LOST_MEMBER)
        self._log.info("worker ended", worker_pid=member.pid, epoch=group.epoch, exit_code=code)
        if code:
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
            group.problems.append(f"Worker process {member.pid} {how}.")
            self._tell(GroupLost(group.epoch, group.problems[-1]))  # the scheduler knows only those that were ready
        if not group.members:
            del self._groups[group.epoch]
            self._tell(GroupGone(self._slot, group.epoch, " ".join(group.problems)))

    # ── plumbing ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _watch(self, fd: int, act: Callable[[], None]) -> None:
        self._watched[fd] = act
        self._poller.register(fd, zmq.POLLIN)

    def _unwatch(self, fd: int) -> None:
        del self._watched[fd]
        self._poller.unregister(fd)

    def _tell(self, message: Message) -> None:
        if self._controller is not None:
            self._socket.send_multipart((self._controller, FROM_LEADER.encode(message)))

    def _end(self) -> None:
        for spare in self._spares:
            spare.dismiss()
            spare.process.terminate()
        members = [member for group in self._groups.values() for member in group.members.values()]
        for member in members:
            member.process.terminate()
        for member in [*self._spares, *members]:
            member.process.wait()
        self._context.destroy(linger=200)
