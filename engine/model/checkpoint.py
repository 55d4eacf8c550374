"""Fills the weights' memory from a safetensors checkpoint, tensor by tensor, or with random numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError, safe_open

from engine.errors import CannotStart
from engine.model.layout import Layout, Weight, pack
from engine.resident.manifest import TensorSpec

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all) after each weight."""

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def weights_of(region: torch.Tensor, specs: Mapping[str, TensorSpec], dtype: str) -> dict[str, torch.Tensor]:
    """Each weight as a view of `region` (uint8 [nbytes]); nothing is copied."""
    element = getattr(torch, dtype)
    views = {}
    for name, spec in specs.items():
        nbytes = math.prod(spec.shape) * element.itemsize
        views[name] = region[spec.offset : spec.offset + nbytes].view(element).view(spec.shape)
    return views


def load_checkpoint(
    path: Path, region: torch.Tensor, layout: Layout, dtype: str, progress: Progress | None = None
) -> None:
    """Copy the checkpoint in `path` into `region` (uint8, at least `pack(layout, dtype).nbytes`, on any device).

    Never holds more than one tensor beside the region. Raises `CannotStart` for a shard or tensor that is missing,
    unreadable, of another shape than the model's config says, or quantised.
    """
    with ExitStack() as open_files:
        shards = _Shards(path, open_files)
        for weight, view in _filled(region, layout, dtype, progress):
            _copy_parts(shards, weight, view)


def fill_dummy(region: torch.Tensor, layout: Layout, seed: int, dtype: str, progress: Progress | None = None) -> None:
    """Random weights for speed tests, whose results stay finite.

    Norms are 1, biases 0, matrices normal with deviation 1/√columns.
    """
    generator = torch.Generator(region.device).manual_seed(seed)
    for weight, view in _filled(region, layout, dtype, progress):
        if len(weight.shape) == 1:
            view.fill_(0.0 if weight.parts[0].name.endswith(".bias") else 1.0)
        else:
            view.normal_(0.0, weight.shape[-1] ** -0.5, generator=generator)


def _filled(
    region: torch.Tensor, layout: Layout, dtype: str, progress: Progress | None
) -> Iterator[tuple[Weight, torch.Tensor]]:
    """Each weight with its view, to be filled by whoever iterates; reports progress after each."""
    views = weights_of(region, pack(layout, dtype).specs, dtype)
    total = sum(view.nbytes for view in views.values())
    done = 0
    for name, weight in layout.items():
        yield weight, views[name]
        done += views[name].nbytes
        if progress:
            progress(done, total)


def _copy_parts(shards: _Shards, weight: Weight, view: torch.Tensor) -> None:
    first_row = 0
    for part in weight.parts:
        shape = (part.rows, *weight.shape[1:])
        view[first_row : first_row + part.rows].copy_(shards.read(part.name, shape))
        first_row += part.rows


class _Index(msgspec.Struct):
    """`weight_map`: tensor name → file name."""

    weight_map: dict[str, str]


class _Shards:
    """The checkpoint's files, each opened (memory-mapped) when a tensor in it is first wanted."""

    def __init__(self, path: Path, open_files: ExitStack):
        self._path = path
        self._open_files = open_files
        self._handles: dict[str, Any] = {}
        self._file_of = self._index()

    def read(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        """The tensor `name`, which must have `shape`."""
        if name not in self._file_of:
            raise CannotStart(f"The checkpoint in {self._path} has no tensor {name}, which its config.json asks for.")
        tensor = self._tensor(self._file_of[name], name)
        if tuple(tensor.shape) != shape:
            raise CannotStart(
                f"In the checkpoint in {self._path}, {name} has the shape {list(tensor.shape)}: "
                f"by its config.json it must be {list(shape)}."
            )
        if tensor.dtype not in DTYPES:
            raise CannotStart(
                f"In the checkpoint in {self._path}, {name} has elements of {tensor.dtype}: "
                f"only {', '.join(map(str, DTYPES))} are supported."
            )
        return tensor

    def _tensor(self, file: str, name: str) -> torch.Tensor:
        try:
            return self._handle(file).get_tensor(name)
        except SafetensorError as error:
            raise self._damaged(file, error) from error

    def _index(self) -> dict[str, str]:
        """Tensor name → file name."""
        if (self._path / INDEX).is_file():
            return self._read_index()
        if (self._path / SINGLE).is_file():
            return dict.fromkeys(self._handle(SINGLE).keys(), SINGLE)
        pickled = next(self._path.glob("pytorch_model*.bin"), None)
        there = f", only {pickled.name}, and pickles can run code, so they are never loaded" if pickled else ""
        raise CannotStart(
            f"There is neither {SINGLE} nor {INDEX} in {self._path}{there}: "
            "download the checkpoint as safetensors, or set load_format to dummy for random weights."
        )

    def _read_index(self) -> dict[str, str]:
        try:
            return msgspec.json.decode((self._path / INDEX).read_bytes(), type=_Index).weight_map
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise CannotStart(f"{self._path / INDEX} has no readable weight_map: download it again.") from error

    def _handle(self, file: str) -> Any:
        if file not in self._handles:
            self._handles[file] = self._open_files.enter_context(self._open(file))
        return self._handles[file]

    def _open(self, file: str) -> Any:
        if Path(file).name != file:
            raise CannotStart(f"{self._path / INDEX} names a file outside its directory, {file}: download it again.")
        try:
            return safe_open(self._path / file, framework="pt", device="cpu")
        except FileNotFoundError as error:
            raise CannotStart(f"The checkpoint in {self._path} lacks its shard {file}: download it again.") from error
        except (OSError, SafetensorError) as error:
            raise self._damaged(file, error) from error

    def _damaged(self, file: str, error: Exception) -> CannotStart:
        return CannotStart(f"The checkpoint file {self._path / file} is damaged ({error}): download it again.")
