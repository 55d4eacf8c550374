"""Where built GPU kernels are kept, for what they were built, and what has still to be built. No torch, no CUDA.

FlashInfer and Triton compile what a model needs when it is first used, and find it again in their folders. Which
folders, and for which GPU, they take from the environment when they are imported: a process that does is given it.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Self

import msgspec

from engine.model.config import ModelConfig

BUILD_SECONDS = 120
"""About what `semi-pd kernels build` takes, seen on an H200 with 16 cores; a first start compiles one after another."""

FLASHINFER_FOLDER = "FLASHINFER_WORKSPACE_BASE"
FLASHINFER_ARCHITECTURES = "FLASHINFER_CUDA_ARCH_LIST"
FLASHINFER_NORMS = "FLASHINFER_USE_CUDA_NORM"
TRITON_FOLDER = "TRITON_CACHE_DIR"

_PACKAGES = ("torch", "flashinfer-python", "triton")
OWN_SOURCE = Path(__file__).with_name("kernels") / "decode_attention.cu"
PRODUCTS = "products.json"
"""In the folder: which algorithms are the fastest, as `engine.kernels.product_choices` keeps it."""
_ANSWER_SECONDS = 30.0


class KernelNeeds(msgspec.Struct, frozen=True):
    """What decides which kernels are compiled. `compute_capability`: "9.0". `query_group`: query heads that share one
    of `kv_heads`. `widths`: how long the rows are that matrices are multiplied with."""

    compute_capability: str
    dtype: str
    head_dim: int
    query_group: int
    kv_heads: int
    widths: tuple[int, ...]

    @classmethod
    def of(cls, model: Path, dtype: str, compute_capability: str) -> Self:
        """Of the model in a Hugging Face directory. Raises `CannotStart` for one that cannot be served."""
        config = ModelConfig.load(model)
        rows = {config.hidden_size, config.intermediate_size, config.num_heads * config.head_dim}
        group = config.num_heads // config.num_kv_heads
        return cls(compute_capability, dtype, config.head_dim, group, config.num_kv_heads, tuple(sorted(rows)))


class Built(msgspec.Struct, frozen=True):
    """What was built, by which versions of the packages, under which driver."""

    versions: dict[str, str]
    driver: str
    needs: tuple[KernelNeeds, ...]


class KernelCache:
    """The folder `root`, with FlashInfer's and Triton's folders in it and a record of what was built."""

    def __init__(self, root: Path):
        self.root = root

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """The one FlashInfer was given; else the user's, `$XDG_STATE_HOME/semi-pd/kernels`."""
        given = environment.get(FLASHINFER_FOLDER)
        state = environment.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        return cls(Path(given) if given else Path(state) / "semi-pd" / "kernels")

    def environment(self, compute_capability: str | None) -> dict[str, str]:
        """For processes that import FlashInfer and Triton, before they do.

        Without its architectures FlashInfer asks CUDA for them when it is imported, and a process that only waits would
        hold a context. Its other norms, of CuTe, are compiled anew in every process.
        """
        folders = {FLASHINFER_FOLDER: str(self.root), TRITON_FOLDER: str(self.root / "triton"), FLASHINFER_NORMS: "1"}
        return folders | ({FLASHINFER_ARCHITECTURES: compute_capability} if compute_capability else {})

    def built(self) -> Built | None:
        """What the record says; None where there is none that can be read."""
        try:
            return msgspec.json.decode(self._record.read_bytes(), type=Built)
        except (OSError, msgspec.DecodeError):
            return None

    def note(self, needs: KernelNeeds, versions: dict[str, str], driver: str) -> None:
        """These kernels are there: whoever needs them will find them."""
        known = self.built()
        if problem(known, needs, versions) == "":
            return
        others = known.needs if known and known.versions == versions else ()
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._record.with_suffix(f".{os.getpid()}")
        draft.write_bytes(msgspec.json.encode(Built(versions, driver, (*others, needs))))
        draft.rename(self._record)

    @property
    def _record(self) -> Path:
        return self.root / "built.json"


def problem(built: Built | None, needs: KernelNeeds, versions: Mapping[str, str]) -> str:
    """Why kernels have to be built, in a clause; empty if they have not.

    The driver is not asked about: what is compiled for a GPU runs under any driver that knows it.
    """
    if built is None:
        return "no GPU kernels are built yet"
    if changed := [name for name in versions if built.versions.get(name) != versions[name]]:
        then = ", ".join(f"{name} {built.versions.get(name, 'absent')}" for name in changed)
        now = ", ".join(f"{name} {versions[name]}" for name in changed)
        return f"the GPU kernels were built for {then}, and this is {now}"
    if needs not in built.needs:
        return (
            f"no GPU kernels are built yet for {needs.dtype}, heads of {needs.head_dim} and compute capability "
            f"{needs.compute_capability} in this model's shape"
        )
    return ""


def installed_versions() -> dict[str, str]:
    """Of the packages that compile, or are compiled against, as far as they are installed, and a digest of what is
    ours."""
    return {**dict(_versions()), OWN_SOURCE.name: own_digest()}


def own_digest() -> str:
    """Of our own kernel's source, twelve hexadecimal digits."""
    return hashlib.sha256(OWN_SOURCE.read_bytes()).hexdigest()[:12]


def _versions() -> Iterator[tuple[str, str]]:
    for name in _PACKAGES:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue


def compute_capability(gpu: str) -> str | None:
    """Of the GPU `gpu`, its index or UUID, as "9.0"; None where nvidia-smi does not tell. No CUDA context is made."""
    command = ("nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader", f"--id={gpu}")
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return said.strip() if said.strip().replace(".", "", 1).isdecimal() else None
