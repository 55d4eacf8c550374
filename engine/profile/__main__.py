"""A probe: `python -m engine.profile RUNTIME_DIR PHASE`. Orders come on standard input, answers go to standard output.

It ends when its input does. What it has to say to a person goes to standard error.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import msgspec

from engine.allocation import Phase
from engine.config import PortArgs
from engine.process import follow_supervisor, run
from engine.profile.messages import IMPORTED, ORDERS, Answer, Check, Open, Order, Take, Work
from engine.profile.probe import Probe
from engine.resident.attachment import attach
from engine.worker.start import preload

ATTACH_SECONDS = 1.0
"""Orders come when the resident is there."""


def main() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    follow_supervisor()
    answers = private_output()
    ports, phase = PortArgs(Path(sys.argv[1])), Phase(sys.argv[2])
    settings = ports.read_settings()
    preload(settings)
    os.write(answers, IMPORTED)
    line = sys.stdin.buffer.readline()
    if not line:
        return
    opening = ORDERS.decode(line)
    assert isinstance(opening, Open), "a probe is opened first"
    with attach(ports.resident_path, ATTACH_SECONDS) as memory:
        probe = Probe(phase, settings, memory, opening)
        say(answers, probe.opened)
        for line in sys.stdin.buffer:
            say(answers, obey(probe, line))


def private_output() -> int:
    """Standard output for answers alone: what libraries print goes to standard error from now on."""
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


def obey(probe: Probe, line: bytes) -> Answer:
    order: Order = ORDERS.decode(line)
    match order:
        case Take():
            return probe.take(order)
        case Check():
            return probe.test()
        case Work(seconds, lanes):
            return probe.work(seconds, lanes)
        case Open():
            return probe.opened


def say(answers: int, what: Answer) -> None:
    os.write(answers, msgspec.json.encode(what) + b"\n")


run(main)
