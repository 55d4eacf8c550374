"""Run by a test within a mount namespace: the store's directory is mounted read-only, then writable, then full."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, ".")

from appliance.store.database import open_database
from appliance.store.journal import event
from appliance.store.reading import FILE
from appliance.store.trouble import StoreUnavailable
from appliance.store.writer import Writer


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def refused(writer: Writer, sentence: str) -> str:
    try:
        writer.change(event("store", sentence, 1.0))
    except StoreUnavailable as error:
        return str(error)
    raise AssertionError(f"{sentence} was written")


def read_only_at_the_start(directory: str) -> None:
    mount("--bind", directory, directory)
    mount("-o", "remount,bind,ro", directory)
    writer = Writer("The database", lambda: open_database(Path(directory) / FILE), print)
    writer.start()
    assert "writ" in refused(writer, "read-only"), writer.status
    mount("-o", "remount,bind,rw", directory)
    writer.change(event("store", "writable", 1.0))
    assert writer.status["problem"] == ""
    writer.stop()


def full_while_it_runs(directory: str) -> None:
    mount("-t", "tmpfs", "-o", "size=400k", "tmpfs", directory)
    writer = Writer("The database", lambda: open_database(Path(directory) / FILE), print)
    writer.start()
    filler = Path(directory) / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 4096):
                pass
        except OSError:
            pass
    assert "full" in refused(writer, "x" * 200_000), writer.status
    filler.unlink()
    writer.change(event("store", "room again", 1.0))
    assert writer.status["problem"] == ""
    writer.stop()


read_only_at_the_start(sys.argv[1])
full_while_it_runs(sys.argv[1])
