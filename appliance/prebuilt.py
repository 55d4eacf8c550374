"""GPU kernels built on another machine: a folder made there, and taken in where there is no compiler.

`python -m appliance.prebuilt DIR` takes the part of it that belongs to the kernels' folder. FlashInfer's modules belong
to its package, in `data/aot`, where it looks before it compiles: install.sh puts them there.

    built.json      for what, and by which versions, as `KernelCache` keeps it
    modules/        NAME/NAME.so
    triton/         Triton's folder
    products.json   which algorithms are the fastest on such a GPU, if that was found out
    SHA256SUMS      of all of these
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from engine.errors import CannotStart
from engine.kernel_cache import PRODUCTS, Built, KernelCache
from engine.process import run

RECORD, MODULES, TRITON, SUMS = "built.json", "modules", "triton", "SHA256SUMS"


def export(cache: KernelCache, capability: str, versions: Mapping[str, str], folder: Path) -> str:
    """Make the folder of what `cache` has for GPUs of this compute capability. Raises `CannotStart` if that is nothing.

    The record says for which models something was built, so what is built in a start alone is in it too.
    """
    built = cache.built()
    needs = tuple(need for need in built.needs if need.compute_capability == capability) if built else ()
    if built is None or built.versions != versions or not needs:
        raise CannotStart(f"No kernels are built for this GPU in {cache.root}: 'semi-pd kernels build' builds them.")
    if folder.exists():
        raise CannotStart(f"{folder} is there already: name a folder that is not.")
    draft = folder.with_name(f"{folder.name}.{os.getpid()}")
    draft.mkdir(parents=True)
    modules = list(_modules(cache.root, versions["flashinfer-python"], capability))
    for module in modules:
        (draft / MODULES / module.stem).mkdir(parents=True)
        shutil.copy(module, draft / MODULES / module.stem)
    shutil.copytree(cache.root / TRITON, draft / TRITON, ignore=shutil.ignore_patterns("lock", "tmp.*"))
    if (cache.root / PRODUCTS).exists():
        shutil.copy(cache.root / PRODUCTS, draft)
    (draft / RECORD).write_bytes(msgspec.json.encode(msgspec.structs.replace(built, needs=needs)))
    (draft / SUMS).write_text("".join(f"{_sha256(path)}  {path.relative_to(draft)}\n" for path in _files(draft)))
    draft.rename(folder)
    return f"{len(modules)} modules of FlashInfer's for compute capability {capability}, and Triton's, are in {folder}."


def take(folder: Path, cache: KernelCache) -> None:
    """Triton's files into the kernels' folder, and into its record what is built. The files fit, and are whole."""
    for source in _files(folder / TRITON):
        target = cache.root / TRITON / source.relative_to(folder / TRITON)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        if source.name.startswith("__grp__"):
            _move_group(target)
    if (folder / PRODUCTS).exists():
        shutil.copyfile(folder / PRODUCTS, cache.root / PRODUCTS)
    built = msgspec.json.decode((folder / RECORD).read_bytes(), type=Built)
    for needs in built.needs:
        cache.note(needs, built.versions, built.driver)


def _move_group(group: Path) -> None:
    # Triton names the files of a kernel by their whole paths, and compiles it again where they are not.
    content = msgspec.json.decode(group.read_bytes())
    content["child_paths"] = {name: str(group.parent / name) for name in content["child_paths"]}
    group.write_bytes(msgspec.json.encode(content))


def _modules(root: Path, version: str, capability: str) -> Iterator[Path]:
    """FlashInfer keeps them by version and architecture: 90a for compute capability 9.0."""
    architecture = capability.replace(".", "")
    for path in sorted(root.glob(f".cache/flashinfer/{version}/{architecture}*/cached_ops/*/*.so")):
        if path.stem == path.parent.name:
            yield path


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    take(Path(sys.argv[1]), KernelCache.of(os.environ))


if __name__ == "__main__":
    run(main)
