"""Parsers fed by fuzzers in processes of their own, in rounds: a parser that ends its process is found out, too."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from bench.faults.fuzz.result import FuzzConfiguration, FuzzLine
from bench.results import Origin

HARNESS = "bench.faults.fuzz.harness"


def made_by() -> str:
    """By what inputs are made here."""
    try:
        return f"atheris {metadata.version('atheris')}"
    except metadata.PackageNotFoundError:
        return "random bytes"


class Parsers(NamedTuple):
    """`folder`: for the corpus of a target and the inputs that found something, by process."""

    target: str
    configuration: FuzzConfiguration
    processes: int
    folder: Path

    def round(self, number: int, origin: Origin, inputs: int, say: Callable[[str], None]) -> FuzzLine:
        """So many inputs in each process."""
        began = time.monotonic()
        folders = [self.folder / self.target / str(index) for index in range(self.processes)]
        seeds = [self.configuration.seed * 10_007 + number * self.processes + index for index in range(self.processes)]
        before = {path for folder in folders for path in _found(folder)}
        with tempfile.TemporaryDirectory(prefix="spd-fuzz-") as scratch:
            said = _fed(self.target, folders, Path(scratch), inputs, seeds)
        problems = [
            path.with_suffix(".txt").read_text()[-2000:] for folder in folders for path in _found(folder) - before
        ]
        problems += [f"The process ended with {end}: {words[-2000:]}" for end, words in said if end]
        for problem in problems:
            say(problem)
        kept = sum(len(list((folder / "corpus").glob("*"))) for folder in folders)
        return FuzzLine(
            origin,
            self.configuration,
            number,
            inputs * self.processes,
            {"kept in the corpus": kept},
            tuple(problems),
            None,
            None,
            round(time.monotonic() - began, 1),
            round(os.getloadavg()[0], 2),
        )


def _fed(
    target: str, folders: Sequence[Path], scratch: Path, inputs: int, seeds: Sequence[int]
) -> list[tuple[int, str]]:
    """How each process ended, and what it said."""
    running = list[subprocess.Popen[str]]()
    for folder, seed in zip(folders, seeds, strict=True):
        (own := scratch / folder.name).mkdir()
        command = [sys.executable, "-m", HARNESS, target, str(folder), str(own), str(inputs), str(seed)]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    said = [process.communicate()[0] for process in running]
    return [(process.returncode, words) for process, words in zip(running, said, strict=True)]


def _found(folder: Path) -> set[Path]:
    return set(folder.glob("problem-*.bytes"))
