"""The scheduler on its sockets: receive everything there is, decide once, send everything decided."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import zmq

from engine.allocation import Phase
from engine.config import PortArgs
from engine.errors import ProtocolMismatch
from engine.fault_point import FaultPoint, reached
from engine.garbage import Garbage
from engine.request import RequestState
from engine.scheduler.departures import Departures
from engine.scheduler.load_table import LoadSnapshot, LoadTable
from engine.scheduler.outbox import Channel
from engine.scheduler.scheduler import Scheduler
from engine.scheduler.step_watch import StepWatch, is_stopped
from engine.scheduler.suspicion import REASON, Suspicion
from engine.systemd import Watchdog, notify_ready
from engine.wire.codec import Codec
from engine.wire.to_controller import FROM_SCHEDULER, CachedPagesFreed
from engine.wire.to_gateway import TO_GATEWAY, Failed
from engine.wire.to_scheduler import (
    FROM_CONTROLLER,
    FROM_GATEWAY,
    FROM_WORKER,
    Activate,
    Aim,
    AskLoad,
    AskStatus,
    Cancel,
    ChangeSplit,
    DecodeReport,
    Drained,
    FreeCachedPages,
    GatewayHello,
    PrefillReport,
    Resume,
    Retire,
    SharesPrepared,
    ShareTaken,
    Submit,
    Watch,
    WorkerReady,
)
from engine.wire.to_worker import TO_WORKER

FromWorker = WorkerReady | SharesPrepared | ShareTaken | PrefillReport | DecodeReport | Drained
FromController = Watch | Activate | ChangeSplit | Retire | Aim | AskStatus | AskLoad | FreeCachedPages


LOOK_MS = 250
"""How often workers are looked at while they have work."""


class SchedulerService:
    """Three ROUTER sockets and a pidfd for every peer whose end matters.

    `check_memory` has the resident look whether a worker that ended with work in its hands has left the weights whole.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        ports: PortArgs,
        load_table: LoadTable,
        suspicion: Suspicion,
        worker_patience_seconds: float,
        log,
        check_memory: Callable[[], None] = lambda: None,
        device_lingers: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._scheduler = scheduler
        self._suspicion = suspicion
        self._steps = StepWatch(worker_patience_seconds, is_stopped)
        self._patience_seconds = worker_patience_seconds
        self._departures = Departures(device_lingers)
        self._check_memory = check_memory
        self._clock = clock
        self._load_table = load_table
        self._log = log
        self._context = zmq.Context()
        self._poller = zmq.Poller()
        self._sockets = {
            Channel.GATEWAY: self._bind(ports.gateway_address),
            Channel.WORKER: self._bind(ports.worker_address),
            Channel.CONTROLLER: self._bind(ports.control_address),
        }
        self._receivers: list[tuple[Channel, Codec, Callable]] = [
            (Channel.WORKER, FROM_WORKER, self._from_worker),
            (Channel.GATEWAY, FROM_GATEWAY, self._from_gateway),
            (Channel.CONTROLLER, FROM_CONTROLLER, self._from_controller),
        ]
        self._encode = {
            Channel.GATEWAY: TO_GATEWAY.encode,
            Channel.WORKER: TO_WORKER.encode,
            Channel.CONTROLLER: FROM_SCHEDULER.encode,
        }
        self._ends: dict[int, Callable[[], None]] = {}
        self._worker_fds: dict[bytes, int] = {}
        self._stop_read, self._stop_write = os.pipe()
        self._poller.register(self._stop_read, zmq.POLLIN)

    def run(self) -> None:
        """Serve until TERM."""
        signal.signal(signal.SIGTERM, lambda *_: os.write(self._stop_write, b"\0"))
        self._publish()
        watchdog, garbage = Watchdog(), Garbage()
        notify_ready("Takes requests and orders.")
        while True:
            most_ms = LOOK_MS if self._scheduler.live else watchdog.patience_ms
            ready = dict(self._poller.poll(self._departures.wait_ms(self._clock(), most_ms)))
            if self._stop_read in ready:
                break
            for channel, codec, handle in self._receivers:
                if self._sockets[channel] in ready:
                    self._receive(channel, codec, handle)
            for pidfd in [fd for fd in ready if fd in self._ends]:
                self._end_of(pidfd)
            self._let_go_of_departed()
            self._look_at_steps()
            self._scheduler.plan()
            self._publish()  # first: who has a last token sees the pages that came back with it
            self._send()
            watchdog.feed()
            garbage.may_be_collected(is_at_rest=not self._scheduler.live)
        self._context.destroy(linger=200)

    # ── in ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _receive(self, channel: Channel, codec: Codec, handle: Callable) -> None:
        socket = self._sockets[channel]
        while True:
            try:
                peer, data = socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                handle(peer, codec.decode(data))
            except ProtocolMismatch as error:
                self._log.error("message refused", channel=channel, peer=peer.hex(), reason=str(error))

    def _from_gateway(self, peer: bytes, message: GatewayHello | Submit | Resume | Cancel) -> None:
        match message:
            case GatewayHello(pid):
                self._log.info("gateway connected", gateway_pid=pid)
                self._when_gone(pid, lambda: self._scheduler.gateway_gone(peer))
            case Submit(request):
                with self._suspicion.of(request.request_id):
                    self._scheduler.submit(peer, request)
                    reached(FaultPoint.SCHEDULER_TAKES_IN)
            case Resume(request) if self._suspicion.condemns(request.request_id):
                self._log.error("request refused", answer_id=f"{request.request_id:016x}", reason=REASON)
                self._scheduler.outbox.put(Channel.GATEWAY, peer, Failed(request.request_id, REASON))
            case Resume(request):
                with self._suspicion.of(request.request_id):  # each is planned by itself: what fails then has one cause
                    self._scheduler.resume(peer, request)
                    self._scheduler.plan()
                    reached(FaultPoint.SCHEDULER_RESUMES)
            case Cancel(request_id):
                self._scheduler.cancel(request_id)

    def _from_worker(self, peer: bytes, message: FromWorker) -> None:
        if isinstance(message, WorkerReady):
            self._log.info("worker ready", worker_pid=message.pid, slot=message.slot, epoch=message.epoch)
            self._scheduler.worker_ready(peer, message)
            pidfd = self._when_gone(message.pid, lambda: self._worker_ended(peer))
            if pidfd is not None:
                self._worker_fds[peer] = pidfd
        elif (worker := self._scheduler.groups.workers.get(peer)) is None or worker.fenced_because:
            self._log.warning("report of a worker that does not count", peer=peer.decode(errors="replace"))
        else:
            match message:
                case PrefillReport():
                    self._scheduler.prefill_reported(peer, message)
                    reached(FaultPoint.SCHEDULER_COMMITTED)
                case DecodeReport():
                    self._scheduler.decode_reported(peer, message)
                    reached(FaultPoint.SCHEDULER_COMMITTED)
                case SharesPrepared():
                    self._scheduler.shares_prepared(peer, message)
                case ShareTaken():
                    self._scheduler.share_taken(peer, message)
                case Drained():
                    self._scheduler.worker_drained(peer)

    def _from_controller(self, peer: bytes, message: FromController) -> None:
        match message:
            case Watch():
                self._scheduler.watch(peer)
            case Activate(epoch):
                self._log.info("activate", epoch=epoch)
                self._scheduler.activate(peer, epoch)
                reached(FaultPoint.SCHEDULER_ACTIVATED)
            case ChangeSplit(epoch):
                self._log.info("change split", epoch=epoch, split=str(message.split))
                self._scheduler.change_split(peer, message)
            case Retire(epoch):
                self._log.info("retire", epoch=epoch)
                self._scheduler.retire(epoch)
            case FreeCachedPages():
                freed = CachedPagesFreed(self._scheduler.free_cached_pages())
                self._scheduler.outbox.put(Channel.CONTROLLER, peer, freed)
            case Aim(ttft_target_seconds, tpot_target_seconds):
                self._scheduler.prefill.aim(ttft_target_seconds, tpot_target_seconds)
            case AskLoad():
                report = self._scheduler.load_report()
                self._scheduler.outbox.put(Channel.CONTROLLER, peer, report)
            case AskStatus():
                self._scheduler.outbox.put(Channel.CONTROLLER, peer, self._scheduler.status)

    # ── steps ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _look_at_steps(self) -> None:
        """End a worker that has work and does not move, stopped or not: from then on it is one that has ended."""
        workers = self._scheduler.groups.workers.values()
        owing = [worker for worker in workers if self._scheduler.owes(worker) and not worker.fenced_because]
        for worker in self._steps.overdue(owing, self._clock()):
            problem = f"had work and did not move for more than {self._patience_seconds:g} s, and was killed"
            self._log.error("worker stuck", worker_pid=worker.ready.pid, epoch=worker.epoch)
            self._scheduler.fence(worker, problem)
            if (pidfd := self._worker_fds.get(worker.peer)) is not None:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)

    # ── ends ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _when_gone(self, pid: int, act: Callable[[], None]) -> int | None:
        """Call `act` when process `pid` has ended, which may be now. Returns a pidfd as long as it has not."""
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            act()
            return None
        self._ends[pidfd] = act
        self._poller.register(pidfd, zmq.POLLIN)
        return pidfd

    def _end_of(self, pidfd: int) -> None:
        self._poller.unregister(pidfd)
        os.close(pidfd)
        self._ends.pop(pidfd)()

    def _worker_ended(self, peer: bytes) -> None:
        self._worker_fds.pop(peer, None)
        self._receive(Channel.WORKER, FROM_WORKER, self._from_worker)  # its last words come before its end
        worker = self._scheduler.groups.workers.get(peer)
        owes = worker is not None and self._scheduler.owes(worker)
        if owes:
            self._check_memory()
        if worker is None or not self._departures.must_wait(worker, owes, self._clock()):
            self._worker_gone(peer)
        elif not (worker.fenced_because or worker.is_draining):
            self._scheduler.fence(worker, "ended unexpectedly")

    def _let_go_of_departed(self) -> None:
        for peer in self._departures.take_due(self._clock()):
            self._worker_gone(peer)

    def _worker_gone(self, peer: bytes) -> None:
        self._log.info("worker gone", peer=peer.decode(errors="replace"))
        self._scheduler.worker_gone(peer)
        reached(FaultPoint.SCHEDULER_LOST_WORKER)

    # ── out ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _send(self) -> None:
        for letter in self._scheduler.outbox.take():
            if letter.channel is Channel.WORKER:
                reached(FaultPoint.SCHEDULER_ORDERS)
            data = self._encode[letter.channel](letter.message)
            self._sockets[letter.channel].send_multipart((letter.peer, data))

    def _publish(self) -> None:
        self._load_table.publish(load_snapshot(self._scheduler))

    def _bind(self, address: str) -> zmq.Socket:
        socket = self._context.socket(zmq.ROUTER)
        socket.set(zmq.SNDHWM, 0)
        socket.set(zmq.RCVHWM, 0)
        socket.bind(address)
        self._poller.register(socket, zmq.POLLIN)
        return socket


def load_snapshot(scheduler: Scheduler) -> LoadSnapshot:
    """What the gateways may know before they ask, and what they tell about the engine."""
    probes_waiting = sum(probe.state is RequestState.WAITING for probe in scheduler.live.probes.values())
    waiting = len(scheduler.prefill.waiting) - probes_waiting
    prefill, decode = (scheduler.groups.route(phase) for phase in (Phase.PREFILL, Phase.DECODE))
    prefill_work, decode_work = scheduler.work[Phase.PREFILL], scheduler.work[Phase.DECODE]
    return LoadSnapshot(
        ready=scheduler.groups.is_routed,
        waiting=waiting,
        running=len(scheduler.live) - len(scheduler.live.probes) - waiting,
        free_pages=scheduler.free_pages,
        total_pages=scheduler.allocator.total_pages,
        queue_limit=scheduler.limits.max_queued_requests,
        max_model_len=scheduler.limits.max_model_len,
        pool_tokens=scheduler.pool_tokens,
        key_limit=scheduler.limits.max_requests_per_key or 0,
        cached_pages=scheduler.allocator.cached_count,
        prefill_share=prefill.share if prefill else 0,
        decode_share=decode.share if decode else 0,
        prefill_sms=prefill.sm_count if prefill else 0,
        decode_sms=decode.sm_count if decode else 0,
        page_size=scheduler.allocator.page_size,
        preemptions=scheduler.preemptions,
        prefill_steps=prefill_work.steps,
        decode_steps=decode_work.steps,
        prefill_seconds=prefill_work.seconds,
        decode_seconds=decode_work.seconds,
        prefill_borrowed_seconds=prefill_work.borrowed_seconds,
        decode_borrowed_seconds=decode_work.borrowed_seconds,
        wait_seconds=scheduler.prefill.wait_seconds,
        wait_limit_seconds=scheduler.limits.max_queue_seconds or 0.0,
        live_by_key=scheduler.live.by_key,
    )
