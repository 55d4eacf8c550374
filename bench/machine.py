"""On what a figure was measured: versions of this machine's software and the GPU, as far as they can be known."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata

import msgspec

_GPU_QUERY = ("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")
_PACKAGES = ("semi-pd", "torch", "flashinfer-python", "vllm", "sglang")


class Machine(msgspec.Struct, frozen=True):
    """`versions`: those of the Python environment of the client. `gpus` and `driver` are empty where there are none."""

    versions: dict[str, str]
    python: str
    cpus: int
    gpus: tuple[str, ...] = ()
    driver: str = ""

    @property
    def name(self) -> str:
        """What the work was done on, in a word."""
        return " + ".join(self.gpus) if self.gpus else f"CPU, {self.cpus} cores"


def this_machine() -> Machine:
    rows = _gpu_rows()
    return Machine(
        versions=dict(_versions()),
        python=platform.python_version(),
        cpus=os.cpu_count() or 1,
        gpus=tuple(name for name, _ in rows),
        driver=rows[0][1] if rows else "",
    )


def _versions():
    for package in _PACKAGES:
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:
            continue


def _gpu_rows() -> list[tuple[str, str]]:
    """(name, driver version) of each GPU."""
    try:
        said = subprocess.run(_GPU_QUERY, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []  # no driver here
    rows = [line.split(", ") for line in said.splitlines() if ", " in line]
    return [(name, driver) for name, driver in rows]
