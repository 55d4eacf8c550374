"""`python -m webui RUNTIME_DIR` serves the console of the appliance whose processes meet there."""

from __future__ import annotations

import sys
from pathlib import Path

from engine.config import PortArgs
from engine.process import follow_supervisor, run
from webui.serve import serve


def main() -> None:
    follow_supervisor()
    serve(PortArgs(Path(sys.argv[1])))


run(main)
