"""Which device the appliance runs on: looks at the machine and at what is installed, without importing torch."""

from __future__ import annotations

import ast
import ctypes
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.errors import CannotStart

_CONTROL_NODE = Path("/dev/nvidiactl")


@dataclass(frozen=True, slots=True)
class CudaSupport:
    """What CUDA needs here: NVIDIA's driver, a CUDA build of torch (`torch_cuda` is its version), FlashInfer."""

    has_driver: bool
    torch_cuda: str | None
    has_flashinfer: bool

    @property
    def problem(self) -> str | None:
        """One clause saying what is missing and what to do; None if nothing is."""
        if not self.has_driver:
            return f"there is no working NVIDIA driver (libcuda.so.1 and {_CONTROL_NODE}): install it, or use the CPU"
        if self.torch_cuda is None:
            return "the installed torch is a CPU build: install the extra `cuda` with a CUDA build of torch"
        if not self.has_flashinfer:
            return "FlashInfer is not installed: install the extra `cuda`"
        return None


def detect_device(requested: Literal["auto", "cpu", "cuda"]) -> Literal["cpu", "cuda"]:
    """The device to use. Raises `CannotStart` where `cuda` is asked for and cannot be had."""
    return "cpu" if requested == "cpu" else choose(requested, probe())


def choose(requested: Literal["auto", "cpu", "cuda"], support: CudaSupport) -> Literal["cpu", "cuda"]:
    """The decision alone: `auto` takes CUDA where nothing is missing for it."""
    if requested == "cuda" and support.problem:
        raise CannotStart(f"The setting device cannot be 'cuda': {support.problem}.")
    return "cpu" if requested == "cpu" or support.problem else "cuda"


def probe() -> CudaSupport:
    """What this machine and this environment offer."""
    return CudaSupport(_has_driver(), _torch_cuda_version(), importlib.util.find_spec("flashinfer") is not None)


def _has_driver() -> bool:
    """The library alone is no sign of a GPU: containers and build machines carry it without one."""
    if not _CONTROL_NODE.exists():
        return False
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def _torch_cuda_version() -> str | None:
    """The CUDA version torch was built for, read from `torch/version.py` as text: importing torch takes seconds."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    return cuda_version_in((Path(spec.origin).parent / "version.py").read_text())


def cuda_version_in(source: str) -> str | None:
    """The value of the last assignment to `cuda` in the source of torch's version module, None where it is none."""
    version = None
    for statement in ast.parse(source).body:
        target = statement.target if isinstance(statement, ast.AnnAssign) else None
        if isinstance(statement, ast.Assign):
            target = statement.targets[0]
        if isinstance(statement, ast.Assign | ast.AnnAssign) and isinstance(target, ast.Name) and target.id == "cuda":
            version = statement.value.value if isinstance(statement.value, ast.Constant) else None
    return version if isinstance(version, str) else None
