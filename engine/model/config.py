"""The shape of a model, read from a Hugging Face directory's config.json. Knows nothing of torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import msgspec

from engine.errors import CannotStart

FAMILIES = {"LlamaForCausalLM": "engine.model.llama"}
"""Architecture → the module whose `build` makes its model; only processes that compute import it."""

_REQUIRED_COUNTS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
)
_ONLY_SUPPORTED: dict[str, Any] = {
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "quantization_config": None,
}
_LLAMA3_FIELDS = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")


class Llama3Scaling(msgspec.Struct, frozen=True):
    """Llama 3.1's way to reach beyond the context it was trained on: slow rotations are stretched by `factor`."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: float


class ModelConfig(msgspec.Struct, frozen=True):
    """What the engine has to know of a model. `torch_dtype` names the checkpoint's own element type."""

    architecture: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rms_norm_eps: float
    rope_theta: float
    rope_scaling: Llama3Scaling | None
    max_position_embeddings: int
    tie_word_embeddings: bool
    bos_token_id: int | None
    eos_token_ids: tuple[int, ...]
    torch_dtype: str

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read `path`/config.json and, where there is one, `path`/generation_config.json.

        Raises `CannotStart`, in one sentence, for a field that is missing or that this engine cannot serve.
        """
        fields = _Fields(path / "config.json")
        generation = path / "generation_config.json"
        return cls._from_fields(fields, _Fields(generation) if generation.is_file() else None)

    @classmethod
    def _from_fields(cls, fields: _Fields, generation: _Fields | None) -> Self:
        architecture = _architecture(fields)
        fields.check_supported()
        counts = {name: fields.count(name) for name in _REQUIRED_COUNTS}
        hidden_size, num_heads = counts["hidden_size"], counts["num_attention_heads"]
        num_kv_heads = fields.count("num_key_value_heads", default=num_heads)
        if num_heads % num_kv_heads:
            raise fields.problem(
                "num_attention_heads", num_heads, f"a multiple of num_key_value_heads, which is {num_kv_heads}"
            )
        rope_theta, rope_scaling = _rope(fields)
        return cls(
            architecture=architecture,
            vocab_size=counts["vocab_size"],
            hidden_size=hidden_size,
            intermediate_size=counts["intermediate_size"],
            num_layers=counts["num_hidden_layers"],
            num_heads=num_heads,
            num_kv_heads=num_kv_heads,
            head_dim=_head_dim(fields, hidden_size, num_heads),
            rms_norm_eps=fields.number("rms_norm_eps"),
            rope_theta=rope_theta,
            rope_scaling=rope_scaling,
            max_position_embeddings=counts["max_position_embeddings"],
            tie_word_embeddings=bool(fields.get("tie_word_embeddings", False)),
            bos_token_id=fields.get("bos_token_id"),
            eos_token_ids=_eos_token_ids(fields, generation),
            torch_dtype=str(fields.get("dtype") or fields.get("torch_dtype") or "float32"),
        )


class _Fields:
    """The fields of one JSON file; each complaint names the file, the field, its value and what would be right."""

    def __init__(self, path: Path, values: dict[str, Any] | None = None):
        self.path = path
        self._values = _read_object(path) if values is None else values

    def get(self, name: str, default: Any = None) -> Any:
        return self._values.get(name, default)

    def problem(self, name: str, value: Any, right: str) -> CannotStart:
        return CannotStart(f"In {self.path}, {name} is {value!r}: it must be {right}.")

    def check_supported(self) -> None:
        for name, supported in _ONLY_SUPPORTED.items():
            value = self.get(name, supported)
            if value != supported:
                right = "absent" if supported is None else repr(supported)
                raise self.problem(name, value, f"{right}, nothing else is supported yet")

    def count(self, name: str, default: int | None = None) -> int:
        """A whole number of at least 1; null counts as missing."""
        value = self._present(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.problem(name, value, "a whole number of at least 1")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A number above 0."""
        value = self._present(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise self.problem(name, value, "a number above 0")
        return float(value)

    def within(self, name: str) -> _Fields | None:
        """The fields of an object inside this file; None where it is absent or null."""
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.problem(name, value, "an object")
        return _Fields(self.path, value)

    def _present(self, name: str, default: float | None) -> Any:
        value = self.get(name)
        value = default if value is None else value
        if value is None:
            raise CannotStart(f"{self.path} has no {name}: it must be in the config of every model served here.")
        return value


def _read_object(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise CannotStart(f"There is no {path}: a Hugging Face model directory with one is needed.") from error
    except (OSError, ValueError) as error:
        raise CannotStart(f"{path} cannot be read as JSON ({error}): download it again.") from error
    if not isinstance(values, dict):
        raise CannotStart(f"{path} holds no JSON object: download it again.")
    return values


def _architecture(fields: _Fields) -> str:
    architectures = fields.get("architectures") or []
    for architecture in architectures:
        if architecture in FAMILIES:
            return architecture
    raise fields.problem("architectures", architectures, f"one of {', '.join(FAMILIES)}")


def _head_dim(fields: _Fields, hidden_size: int, num_heads: int) -> int:
    head_dim = fields.count("head_dim", default=hidden_size // num_heads)
    if head_dim % 2:
        raise fields.problem("head_dim", head_dim, "even, because rotary embedding turns pairs")
    return head_dim


def _rope(fields: _Fields) -> tuple[float, Llama3Scaling | None]:
    """(theta, scaling) from `rope_parameters`, as configs have been written since 2025, or the two older fields."""
    parameters = fields.within("rope_parameters") or fields.within("rope_scaling") or _Fields(fields.path, {})
    theta = parameters.number("rope_theta", default=fields.number("rope_theta", default=10000.0))
    kind = parameters.get("rope_type") or parameters.get("type") or "default"
    if kind == "default":
        return theta, None
    if kind != "llama3":
        raise fields.problem("the rope scaling's rope_type", kind, "'default' or 'llama3'")
    return theta, Llama3Scaling(*(parameters.number(name) for name in _LLAMA3_FIELDS))


def _eos_token_ids(fields: _Fields, generation: _Fields | None) -> tuple[int, ...]:
    """generation_config.json has the word: chat models list there more end tokens than in config.json."""
    value = generation.get("eos_token_id") if generation else None
    value = fields.get("eos_token_id") if value is None else value
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list) else (value,)
