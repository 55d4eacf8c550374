"""A folder of kernels built elsewhere: made, found whole and fitting before anything is installed, and taken in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.prebuilt import export, take
from engine.config import DEMO_MODEL
from engine.errors import CannotStart
from engine.kernel_cache import OWN_SOURCE, KernelCache, KernelNeeds, own_digest

ROOT = Path(__file__).parent.parent.parent
LOCK = ROOT / "constraints" / "cuda-3.11.lock"
PACKAGES = {"torch": "2.11.0", "flashinfer-python": "0.6.13", "triton": "3.6.0"}
VERSIONS = {**PACKAGES, OWN_SOURCE.name: own_digest()}
NEEDS = KernelNeeds.of(DEMO_MODEL, "bfloat16", "9.0")
OPS = ".cache/flashinfer/0.6.13/90a/cached_ops"


@pytest.fixture
def cache(tmp_path: Path) -> KernelCache:
    """Kernels as they lie where they were built: with objects and logs, and with those of another GPU."""
    cache = KernelCache(tmp_path / "built")
    for path in (f"{OPS}/page/page.so", f"{OPS}/page/page.cuda.o", f"{OPS}/tmp/page.lock"):
        write(cache.root / path, "machine code")
    write(cache.root / OPS.replace("90a", "100a") / "page" / "page.so", "another GPU's")
    kernel = cache.root / "triton" / "KEY"
    write(kernel / "linear.cubin", "machine code")
    write(kernel / "__grp__linear.json", json.dumps({"child_paths": {"linear.cubin": str(kernel / "linear.cubin")}}))
    cache.note(NEEDS, VERSIONS, "580.1")
    cache.note(KernelNeeds.of(DEMO_MODEL, "bfloat16", "10.0"), VERSIONS, "580.1")
    return cache


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def problem(folder: Path, *, lock: Path = LOCK, capability: str = "9.0", model: Path = DEMO_MODEL) -> str:
    """What install.sh says, and is told by an exit code; with no package of ours to be found."""
    command = [sys.executable, "-S", ROOT / "tools" / "install" / "prebuilt.py", folder, lock, capability, model]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]})
    assert done.stderr == "" and done.returncode == (1 if done.stdout else 0)
    return done.stdout


def test_the_algorithms_that_were_found_travel_along(cache: KernelCache, tmp_path: Path) -> None:
    folder, here = tmp_path / "kernels", KernelCache(tmp_path / "here")
    write(cache.root / "products.json", "found by measuring")
    export(cache, "9.0", VERSIONS, folder)
    assert problem(folder) == ""
    take(folder, here)
    assert (here.root / "products.json").read_text() == "found by measuring"
    (folder / "products.json").write_text("another")
    assert "is missing or damaged" in problem(folder)


def test_only_what_this_gpu_needs_is_exported(cache: KernelCache, tmp_path: Path) -> None:
    folder = tmp_path / "wheels" / "kernels"
    assert export(cache, "9.0", VERSIONS, folder).startswith("1 modules of FlashInfer's for compute capability 9.0")
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    triton = {"triton/KEY/linear.cubin", "triton/KEY/__grp__linear.json"}
    assert files == {"SHA256SUMS", "built.json", "modules/page/page.so", *triton}
    assert problem(folder) == ""
    with pytest.raises(CannotStart, match="is there already"):
        export(cache, "9.0", VERSIONS, folder)


@pytest.mark.parametrize(("capability", "versions"), [("8.0", VERSIONS), ("9.0", VERSIONS | {"torch": "2.12.0"})])
def test_what_is_not_built_is_not_exported(
    cache: KernelCache, tmp_path: Path, capability: str, versions: dict[str, str]
) -> None:
    with pytest.raises(CannotStart, match="No kernels are built for this GPU"):
        export(cache, capability, versions, tmp_path / "kernels")
    assert not (tmp_path / "kernels").exists()


def test_they_are_found_where_they_are_taken(cache: KernelCache, tmp_path: Path) -> None:
    folder, here = tmp_path / "kernels", KernelCache(tmp_path / "here")
    export(cache, "9.0", VERSIONS, folder)
    take(folder, here)
    built = here.built()
    assert built is not None and built.needs == (NEEDS,) and built.versions == VERSIONS
    kernel = here.root / "triton" / "KEY"
    assert (kernel / "linear.cubin").read_text() == "machine code"
    group = json.loads((kernel / "__grp__linear.json").read_text())
    assert group == {"child_paths": {"linear.cubin": str(kernel / "linear.cubin")}}


def test_kernels_from_another_source_of_ours_do_not_fit(cache: KernelCache, tmp_path: Path) -> None:
    older = VERSIONS | {OWN_SOURCE.name: "0123456789ab"}
    cache.note(NEEDS, older, "580.1")
    export(cache, "9.0", older, tmp_path / "kernels")
    assert "were built for decode_attention.cu 0123456789ab, and this release has" in problem(tmp_path / "kernels")


def test_what_does_not_fit_is_said_with_what_to_do(cache: KernelCache, tmp_path: Path) -> None:
    folder, lock, other = tmp_path / "kernels", tmp_path / "lock", tmp_path / "model"
    export(cache, "9.0", VERSIONS, folder)
    lock.write_text(LOCK.read_text().replace("torch==2.11.0", "torch==2.12.0"))
    config = json.loads((DEMO_MODEL / "config.json").read_text())
    write(other / "config.json", json.dumps(config | {"hidden_size": 2 * config["hidden_size"]}))
    assert problem(folder, capability="8.0").startswith(
        f"the kernels in {folder} are for compute capability 9.0, and the GPU has 8.0: make it with 'semi-pd kernels"
    )
    assert "were built for torch 2.11.0, and this release has 2.12.0" in problem(folder, lock=lock)
    assert f"are for other shapes than {other} has" in problem(folder, model=other)
    assert "holds no config.json" in problem(folder, model=tmp_path)
    assert f"{tmp_path} holds no kernels that were exported" in problem(tmp_path)
    (folder / "modules" / "page" / "page.so").write_text("half")
    assert problem(folder) == f"{folder}/modules/page/page.so is missing or damaged: copy the folder again"
