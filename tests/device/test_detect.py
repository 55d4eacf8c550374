"""The choice of the device: what is missing decides, and torch is not imported to find out."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from engine.device.detect import CudaSupport, choose, cuda_version_in, detect_device, probe
from engine.errors import CannotStart

COMPLETE = CudaSupport(has_driver=True, torch_cuda="13.0", has_flashinfer=True)
INCOMPLETE = {
    "libcuda.so.1": CudaSupport(has_driver=False, torch_cuda="13.0", has_flashinfer=True),
    "torch is a CPU build": CudaSupport(has_driver=True, torch_cuda=None, has_flashinfer=True),
    "FlashInfer": CudaSupport(has_driver=True, torch_cuda="13.0", has_flashinfer=False),
}


def test_auto_takes_cuda_where_nothing_is_missing() -> None:
    assert choose("auto", COMPLETE) == "cuda"
    assert choose("cuda", COMPLETE) == "cuda"
    assert choose("cpu", COMPLETE) == "cpu"


@pytest.mark.parametrize("named", INCOMPLETE)
def test_what_is_missing_is_named_when_cuda_is_asked_for(named: str) -> None:
    assert choose("auto", INCOMPLETE[named]) == "cpu"
    with pytest.raises(CannotStart, match=named) as raised:
        choose("cuda", INCOMPLETE[named])
    assert str(raised.value).endswith(".")
    assert "\n" not in str(raised.value)


def test_this_machine_is_judged_as_torch_judges_it() -> None:
    assert probe().torch_cuda == torch.version.cuda
    if probe().problem:
        assert detect_device("auto") == "cpu"
    else:
        assert torch.cuda.is_available()


@pytest.mark.parametrize(
    ("source", "version"),
    [
        ("cuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n", "13.0"),
        ("cuda = '12.8'\n", "12.8"),
        ("cuda: Optional[str] = None\n", None),
        ("__version__ = '2.13.0'\n", None),
        ("__all__ = ['cuda']\ncuda: Optional[str]\n", None),
    ],
)
def test_the_cuda_version_is_read_from_torchs_source(source: str, version: str | None) -> None:
    assert cuda_version_in(source) == version


@pytest.mark.parametrize(
    "module", ["engine.device.detect", "engine.device.sm_range", "engine.storage.ledger", "engine.resident.attachment"]
)
def test_what_the_scheduler_and_the_installer_import_knows_nothing_of_torch(module: str) -> None:
    program = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
