"""Parsers fed by fuzzers in processes of their own, in rounds: a parser that ends its process is found out, too."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
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
        commands = [
            [sys.executable, "-m", HARNESS, self.target, str(folder), str(inputs), str(seed)]
            for folder, seed in zip(folders, seeds, strict=True)
        ]
        running = [
            subprocess.Popen(each, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for each in commands
        ]
        said = [process.communicate()[0] for process in running]
        problems = [
            path.with_suffix(".txt").read_text()[-2000:] for folder in folders for path in _found(folder) - before
        ]
        for process, words in zip(running, said, strict=True):
            if process.returncode:
                problems.append(f"The process ended with {process.returncode}: {words[-2000:]}")
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


def _found(folder: Path) -> set[Path]:
    return set(folder.glob("problem-*.bytes"))
