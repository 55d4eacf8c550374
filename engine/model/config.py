"""The shape of a model, read from a Hugging Face directory's config.json. Knows nothing of torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import msgspec

from engine.model.families import FAMILIES
from engine.model.fields import Fields
from engine.model.traits import Traits

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
    "mlp_bias": False,
    "partial_rotary_factor": 1.0,
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
    traits: Traits = Traits()

    @property
    def products(self) -> tuple[tuple[int, int], ...]:
        """(outputs, columns) of a layer's matrices: q, k and v in one, attention's out, gate and up in one, down."""
        attended = self.num_heads * self.head_dim
        return (
            (attended + 2 * self.num_kv_heads * self.head_dim, self.hidden_size),
            (self.hidden_size, attended),
            (2 * self.intermediate_size, self.hidden_size),
            (self.hidden_size, self.intermediate_size),
        )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read `path`/config.json and, where there is one, `path`/generation_config.json.

        Raises `CannotStart`, in one sentence, for a field that is missing or that this engine cannot serve.
        """
        fields = Fields(path / "config.json")
        generation = path / "generation_config.json"
        return cls._from_fields(fields, Fields(generation) if generation.is_file() else None)

    @classmethod
    def _from_fields(cls, fields: Fields, generation: Fields | None) -> Self:
        architecture = _architecture(fields)
        for name, supported in _ONLY_SUPPORTED.items():
            fields.check_only(name, supported)
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
            tie_word_embeddings=fields.flag("tie_word_embeddings"),
            bos_token_id=fields.get("bos_token_id"),
            eos_token_ids=_eos_token_ids(fields, generation),
            torch_dtype=str(fields.get("dtype") or fields.get("torch_dtype") or "float32"),
            traits=FAMILIES[architecture](fields),
        )


def _architecture(fields: Fields) -> str:
    architectures = fields.get("architectures") or []
    served = ", ".join(FAMILIES)
    if not isinstance(architectures, list):
        raise fields.problem("architectures", architectures, f"a list with one of {served}")
    for architecture in architectures:
        if isinstance(architecture, str) and architecture in FAMILIES:
            return architecture
    if fields.get("auto_map"):
        right = f"one of {served}: code that comes with a model (auto_map) is never run"
        raise fields.problem("architectures", architectures, right)
    raise fields.problem("architectures", architectures, f"one of {served}")


def _head_dim(fields: Fields, hidden_size: int, num_heads: int) -> int:
    head_dim = fields.count("head_dim", default=hidden_size // num_heads)
    if head_dim % 2:
        raise fields.problem("head_dim", head_dim, "even, because rotary embedding turns pairs")
    return head_dim


def _rope(fields: Fields) -> tuple[float, Llama3Scaling | None]:
    """(theta, scaling) from `rope_parameters`, as configs have been written since 2025, or the two older fields."""
    parameters = fields.within("rope_parameters") or fields.within("rope_scaling") or Fields(fields.path, {})
    theta = parameters.number("rope_theta", default=fields.number("rope_theta", default=10000.0))
    kind = parameters.get("rope_type") or parameters.get("type") or "default"
    if kind == "default":
        return theta, None
    if kind != "llama3":
        raise fields.problem("the rope scaling's rope_type", kind, "'default' or 'llama3'")
    return theta, Llama3Scaling(*(parameters.number(name) for name in _LLAMA3_FIELDS))


def _eos_token_ids(fields: Fields, generation: Fields | None) -> tuple[int, ...]:
    """generation_config.json has the word: chat models list there more end tokens than in config.json."""
    value = generation.get("eos_token_id") if generation else None
    value = fields.get("eos_token_id") if value is None else value
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list) else (value,)
