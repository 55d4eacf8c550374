"""A machine whose wall clock is set and whose disk reports errors, as the processes of one appliance see it."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

_SOURCE = Path(__file__).with_suffix(".c")
FILE_VARIABLE = "UNKIND_MACHINE"
_WORDS = struct.Struct("=qq")


class UnkindMachine:
    """Its library is preloaded (`environment`); what it does is said in a file that all processes map."""

    def __init__(self, directory: Path):
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("this machine has no C compiler, by which a clock and a disk could be made to err")
        library = directory / "unkind_machine.so"
        options = ("-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(library), str(_SOURCE), "-ldl")
        subprocess.run([compiler, *options], check=True)
        self._file = directory / "machine"
        self._file.write_bytes(_WORDS.pack(0, 0))
        self.environment = {"LD_PRELOAD": str(library), FILE_VARIABLE: str(self._file)}

    def set_clock(self, wrong_seconds: int) -> None:
        """For all processes at once, as a person who sets the machine's clock would."""
        _write(self._file, 0, wrong_seconds)

    def fail_disk(self, does: bool) -> None:
        """Reads, writes and syncs of databases end with EIO, or no longer do."""
        fail_disk(self._file, does)


def fail_disk(file: Path, does: bool) -> None:
    """By the file of an `UnkindMachine`, for who is on it."""
    _write(file, 1, does)


def _write(file: Path, word: int, value: int) -> None:
    descriptor = os.open(file, os.O_WRONLY)
    try:
        os.pwrite(descriptor, struct.pack("=q", value), 8 * word)
    finally:
        os.close(descriptor)
