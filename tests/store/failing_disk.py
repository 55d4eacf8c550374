"""Run by a test on an `UnkindMachine`: the disk reports errors while the store is written, and then no longer."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, ".")

from appliance.store.database import open_database
from appliance.store.journal import event
from appliance.store.reading import FILE
from appliance.store.trouble import StoreUnavailable
from appliance.store.writer import Writer
from tests.unkind_machine import FILE_VARIABLE, fail_disk


def refused(writer: Writer, sentence: str) -> str:
    try:
        writer.change(event("store", sentence, 1.0))
    except StoreUnavailable as error:
        return str(error)
    raise AssertionError(f"{sentence} was written")


machine, directory = Path(os.environ[FILE_VARIABLE]), Path(sys.argv[1])
writer = Writer("The database", lambda: open_database(directory / FILE), print)
writer.start()
writer.change(event("store", "before", 1.0))
fail_disk(machine, True)
kept = writer.record(event("store", "kept", 1.0))
for _ in range(2):
    assert "the disk reports errors: see to it" in refused(writer, "refused"), writer.status
assert writer.status["waiting_records"] == 1, writer.status
fail_disk(machine, False)
writer.change(event("store", "after", 1.0))
kept.result(10)
assert writer.status["problem"] == "", writer.status
writer.stop()
