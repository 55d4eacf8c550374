"""`python -m engine.leader RUNTIME_DIR SLOT`"""

from __future__ import annotations

import sys
from pathlib import Path

from engine.config import PortArgs
from engine.leader.leader import Leader
from engine.process import follow_supervisor, run, set_up_logging


def main() -> None:
    follow_supervisor()
    ports, slot = PortArgs(Path(sys.argv[1])), sys.argv[2]
    settings = ports.read_settings()
    assert settings.splitter is not None, "settings are resolved for a device"
    Leader(slot, ports, settings.splitter, set_up_logging(f"leader-{slot}", settings.log_level)).run()


run(main)
