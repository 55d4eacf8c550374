"""The appliance's own services as systemd sees them, asked over D-Bus. It starts and restarts; it stops nothing.

polkit allows the user semi-pd these verbs for these units: see systemd/semi-pd.rules.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar

from dbus_fast import BusType, DBusError, Message, MessageType
from dbus_fast.aio import MessageBus

from engine.errors import SemiPDError

PATTERN = "semi-pd-*.service"
ANSWER_SECONDS = 10.0
JOB_SECONDS = 120.0
"""A gateway drains for half a minute; a resident may load for longer, and goes on doing so."""

_BUS, _PATH, _MANAGER = "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"
_UNIT, _SERVICE = "org.freedesktop.systemd1.Unit", "org.freedesktop.systemd1.Service"

T = TypeVar("T")


class UnitState(NamedTuple):
    """`active` is systemd's word, `status` what the process says of itself. Times are seconds since the epoch, or 0.

    `cpu_seconds` and `memory_bytes` are None where the machine does not count them. `exit_code` is that of the main
    process that ended last, None where a signal ended it, or nothing yet.
    """

    name: str
    active: str
    result: str
    status: str
    main_pid: int
    restarts: int
    since: float
    watchdog_fed_at: float
    cpu_seconds: float | None
    memory_bytes: int | None
    exit_code: int | None


class Units:
    """Each call makes a connection of its own, so that any thread may call. Raises `SemiPDError` with the reason."""

    def states(self) -> list[UnitState]:
        """Every service of the appliance that systemd has loaded, by name."""
        return _with_bus(_states, ANSWER_SECONDS)

    def restart(self, name: str, *, wait: bool = True) -> None:
        """Restart one; with `wait`, return when it is ready again."""
        _with_bus(lambda bus: _restart(bus, name, wait), JOB_SECONDS)


def _with_bus(work: Callable[[MessageBus], Awaitable[T]], seconds: float) -> T:
    async def connected() -> T:
        bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
        try:
            return await asyncio.wait_for(work(bus), seconds)
        finally:
            bus.disconnect()

    try:
        return asyncio.run(connected())
    except TimeoutError as error:
        raise SemiPDError(f"systemd has not finished within {seconds:g} s.") from error
    except (OSError, DBusError) as error:
        raise SemiPDError(f"systemd cannot be asked: {error}.") from error


async def _call(bus: MessageBus, path: str, interface: str, member: str, signature: str = "", *body: Any) -> list[Any]:
    answer = await bus.call(Message(_BUS, path, interface, member, signature=signature, body=list(body)))
    assert answer is not None, "a method call has an answer"
    if answer.message_type is MessageType.ERROR:
        raise SemiPDError(f"systemd refuses: {answer.body[0] if answer.body else answer.error_name}")
    return answer.body


async def _states(bus: MessageBus) -> list[UnitState]:
    [listed] = await _call(bus, _PATH, _MANAGER, "ListUnitsByPatterns", "asas", [], [PATTERN])
    return sorted([await _state(bus, unit[0], unit[6]) for unit in listed])


async def _state(bus: MessageBus, name: str, path: str) -> UnitState:
    [unit] = await _call(bus, path, "org.freedesktop.DBus.Properties", "GetAll", "s", _UNIT)
    [service] = await _call(bus, path, "org.freedesktop.DBus.Properties", "GetAll", "s", _SERVICE)
    return unit_state(name, {key: value.value for key, value in (unit | service).items()})


def unit_state(name: str, properties: dict[str, Any]) -> UnitState:
    """From systemd's properties of a service. It writes the largest 64-bit number where it does not count."""
    counted = {
        key: None if properties[key] == 2**64 - 1 else properties[key] for key in ("CPUUsageNSec", "MemoryCurrent")
    }
    cpu = counted["CPUUsageNSec"]
    return UnitState(
        name=name,
        active=properties["ActiveState"],
        result=properties["Result"],
        status=properties["StatusText"],
        main_pid=properties["MainPID"],
        restarts=properties["NRestarts"],
        since=properties["StateChangeTimestamp"] / 1e6,
        watchdog_fed_at=properties["WatchdogTimestamp"] / 1e6,
        cpu_seconds=None if cpu is None else cpu / 1e9,
        memory_bytes=counted["MemoryCurrent"],
        exit_code=properties["ExecMainStatus"] if properties["ExecMainCode"] == os.CLD_EXITED else None,
    )


async def _restart(bus: MessageBus, name: str, wait: bool) -> None:
    """Whoever watches before asking cannot miss the end of the job."""
    results: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    def hear(message: Message) -> None:
        if message.message_type is MessageType.SIGNAL and message.member == "JobRemoved":
            results.put_nowait((message.body[1], message.body[3]))

    bus.add_message_handler(hear)
    await _call(bus, _PATH, _MANAGER, "Subscribe")
    rule = f"type='signal',interface='{_MANAGER}',member='JobRemoved'"
    await bus.call(
        Message(
            "org.freedesktop.DBus",
            "/org/freedesktop/DBus",
            "org.freedesktop.DBus",
            "AddMatch",
            signature="s",
            body=[rule],
        )
    )
    [job] = await _call(bus, _PATH, _MANAGER, "RestartUnit", "ss", name, "replace")
    result = "done"
    while wait:
        path, result = await results.get()
        wait = path != job
    if result != "done":
        raise SemiPDError(f"The restart of {name} ended as '{result}': journalctl -u {name} tells why.")
