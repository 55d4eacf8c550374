"""`python -m engine.resident RUNTIME_DIR`: loads the weights, makes KV pool and ledger, then answers the door."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from engine.config import PortArgs
from engine.device.open_device import open_device
from engine.errors import MemoryDamaged
from engine.process import follow_supervisor, run, set_up_logging
from engine.resident.reception import Reception
from engine.resident.resident import Resident
from engine.systemd import notify_ready


def main() -> None:
    """Exits 0 on TERM, while loading as well as after: there is nothing to hand over, the memory ends with it; 1 where
    that has changed: the next resident loads it anew."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    follow_supervisor()
    ports = PortArgs(Path(sys.argv[1]))
    settings = ports.read_settings()
    log = set_up_logging("resident", settings.log_level)
    assert settings.device != "auto", "settings are resolved for a device before any process starts"
    resident = Resident.load(settings, open_device(settings.device, settings.gpu), log)
    with Reception(ports.resident_path, resident.manifest, resident.fds, log, resident.check_weights) as reception:
        log.info(
            "ready", weights_bytes=resident.manifest.weights_memory.nbytes, kv_pages=resident.manifest.kv.num_pages
        )
        notify_ready("Holds the weights and the KV cache.")
        try:
            reception.run()
        except MemoryDamaged as damage:
            log.error("memory damaged", reason=str(damage))
            sys.exit(1)


run(main)
