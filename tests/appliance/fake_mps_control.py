"""Stands for `nvidia-cuda-mps-control` where there is no GPU: the same program is daemon (`-f`) and client.

Like the real one it makes its pipe and its log in the two directories from the environment, answers one command a line,
has no server before the first client, and ends on `quit`. The client fails where no daemon is there.
`FAKE_MPS` makes it fail in one of the real one's ways: `refuse` (ends at start, with the reason in its log) or `deaf`
(does not answer `quit`, as while a client hangs).
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path

PIPES = Path(os.environ["CUDA_MPS_PIPE_DIRECTORY"])
LOGS = Path(os.environ["CUDA_MPS_LOG_DIRECTORY"])
BEHAVIOUR = os.environ.get("FAKE_MPS", "")


def daemon() -> int:
    (LOGS / "seen.json").write_text(json.dumps({"gpu": os.environ.get("CUDA_VISIBLE_DEVICES"), "group": os.getpgid(0)}))
    if BEHAVIOUR == "refuse":
        (LOGS / "control.log").write_text("Start\nAn instance of this daemon is already running\n")
        return 1
    with socket.socket(socket.AF_UNIX) as control:
        control.bind(str(PIPES / "control"))
        control.listen()
        while True:
            with control.accept()[0] as client:
                command = client.makefile().readline().strip()
                if command == "quit" and BEHAVIOUR == "deaf":
                    time.sleep(3600)
                if command == "quit":
                    (PIPES / "control").unlink()
                    return 0


def client() -> int:
    with socket.socket(socket.AF_UNIX) as control:
        try:
            control.connect(str(PIPES / "control"))
        except OSError:
            print("Cannot find MPS control daemon process", file=sys.stderr)
            return 1
        control.sendall(sys.stdin.readline().encode())
        control.recv(1)
    return 0


sys.exit(daemon() if sys.argv[1:] == ["-f"] else client())
