"""A spare worker: everything is imported, nothing is held. It waits for its assignment and then becomes a worker.

`python -m engine.worker RUNTIME_DIR`; started by a group leader, which writes an `Assignment` to its standard input.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import msgspec

from engine.config import PortArgs
from engine.process import run
from engine.resident.attachment import ResidentGone
from engine.wire.to_worker import Assignment
from engine.worker.start import preload, start_worker

SPARE_READY = b"+"


def main() -> None:
    """Exits 0 without a word if the leader goes away before it has use for this process."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ports = PortArgs(Path(sys.argv[1]))
    settings = ports.read_settings()
    preload(settings)
    os.write(sys.stdout.fileno(), SPARE_READY)
    line = sys.stdin.buffer.readline()
    if line:
        assignment = msgspec.json.decode(line, type=Assignment)
        try:
            worker = start_worker(assignment, settings, ports)
            signal.signal(signal.SIGTERM, lambda *_: worker.order_drain())
            worker.run()
        except ResidentGone as error:
            sys.exit(str(error))


run(main)
