"""On what a profile holds: the device, the libraries that compute, the model's shape. No torch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import metadata
from typing import Any, Self

import msgspec

from engine.allocation import Splitter
from engine.config import ServerArgs
from engine.model.config import ModelConfig

_PACKAGES = ("semi-pd", "torch", "flashinfer-python")
_NO_SHAPE = ("architecture", "torch_dtype", "eos_token_ids", "bos_token_id", "max_position_embeddings")
"""Fields of a model's config that change no matrix."""


class ProfileKey(msgspec.Struct, frozen=True):
    """`versions`: of the packages that compute. `driver` is empty on the CPU."""

    device: str
    driver: str
    versions: dict[str, str]
    shape: dict[str, Any]
    dtype: str
    splitter: Splitter
    deterministic: bool = False

    @classmethod
    def of(cls, settings: ServerArgs, device: str, driver: str) -> Self:
        """For settings that are resolved for a device. Raises `CannotStart` for a model that cannot be served."""
        assert settings.splitter is not None, "settings are resolved for a device"
        shape = shape_of(ModelConfig.load(settings.model_path))
        return cls(
            device, driver, installed_versions(), shape, settings.dtype, settings.splitter, settings.deterministic
        )

    @property
    def file_name(self) -> str:
        """Of the profile for this device and model, whatever the versions are."""
        place = msgspec.json.encode([self.device, self.shape, self.dtype, self.deterministic], order="sorted")
        return f"{self.splitter}-{hashlib.sha256(place).hexdigest()[:16]}.json"

    def changes_since(self, other: ProfileKey) -> str:
        """In words, what is other now than it was for `other`; empty if nothing is."""
        now, then = _flat(self), _flat(other)
        changed = [name for name in sorted({*now, *then}) if now.get(name) != then.get(name)]
        return ", ".join(f"{name} was {then.get(name, 'none')} and is {now.get(name, 'none')}" for name in changed)


def shape_of(config: ModelConfig) -> dict[str, Any]:
    """What of a model's config decides which matrices there are."""
    fields = msgspec.to_builtins(config)
    return {name: value for name, value in fields.items() if name not in _NO_SHAPE}


def installed_versions() -> dict[str, str]:
    """Of the packages that compute, as far as they are installed."""
    return dict(_versions())


def _versions():
    for package in _PACKAGES:
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:
            continue


def _flat(key: ProfileKey) -> Mapping[str, Any]:
    fields = msgspec.to_builtins(key)
    return {**fields.pop("versions"), **fields.pop("shape"), **fields}
