"""`python -m tests.scheduler.fragile_scheduler RUNTIME_DIR`: the service over a ledger in a file, and a bug in it.

To take in request `FATAL` once more ends it.
"""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

from engine.config import PortArgs
from engine.process import set_up_logging
from engine.request import Request
from engine.scheduler.limits import Limits
from engine.scheduler.load_table import LoadTable
from engine.scheduler.scheduler import Scheduler
from engine.scheduler.service import SchedulerService
from engine.scheduler.suspicion import Suspicion
from engine.storage.allocator import PageAllocator
from engine.storage.ledger import Ledger

FATAL = 5
LIMITS = Limits(max_model_len=64, max_running_requests=4, max_queued_requests=4, prefill_token_budget=16)


class FragileScheduler(Scheduler):
    def resume(self, gateway: bytes, request: Request) -> None:
        if request.request_id == FATAL:
            raise ZeroDivisionError
        super().resume(gateway, request)


def ledger_file(runtime_dir: Path) -> Path:
    """Stands for the resident's memory."""
    return runtime_dir / "ledger"


def main() -> None:
    ports = PortArgs(Path(sys.argv[1]))
    with ledger_file(ports.runtime_dir).open("r+b") as file:
        ledger = Ledger.open(mmap.mmap(file.fileno(), 0))
    suspicion = Suspicion(ledger)
    scheduler = FragileScheduler(LIMITS, PageAllocator.adopting(ledger, page_size=4))
    log = set_up_logging("scheduler", "INFO")
    SchedulerService(scheduler, ports, LoadTable.create(ports.load_table_path), suspicion, 3.0, log).run()


if __name__ == "__main__":
    main()
