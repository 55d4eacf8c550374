"""`python -m engine.gateway RUNTIME_DIR` serves the appliance whose processes meet there."""

from __future__ import annotations

import sys
from pathlib import Path

from engine.config import PortArgs
from engine.gateway.serve import serve
from engine.process import follow_supervisor, run


def main() -> None:
    follow_supervisor()
    serve(PortArgs(Path(sys.argv[1])))


run(main)
