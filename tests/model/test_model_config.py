"""Reading config.json: what is understood, and the sentence for what is not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.errors import CannotStart
from engine.model.config import Llama3Scaling, ModelConfig
from engine.model.traits import Traits

FIELDS: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 320,
    "hidden_size": 48,
    "intermediate_size": 72,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "eos_token_id": 7,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def written(path: Path, changes: dict[str, Any], generation: dict[str, Any] | None = None) -> Path:
    """A model directory with FIELDS and `changes`; a change to ... removes the field."""
    fields = {name: value for name, value in (FIELDS | changes).items() if value is not ...}
    (path / "config.json").write_text(json.dumps(fields))
    if generation is not None:
        (path / "generation_config.json").write_text(json.dumps(generation))
    return path


def test_a_config_written_by_transformers(small_llama: Path) -> None:
    config = ModelConfig.load(small_llama)
    assert config == ModelConfig(
        architecture="LlamaForCausalLM",
        vocab_size=257,
        hidden_size=48,
        intermediate_size=72,
        num_layers=2,
        num_heads=6,
        num_kv_heads=2,
        head_dim=10,
        rms_norm_eps=1e-6,
        rope_theta=10000.0,
        rope_scaling=None,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_ids=(256,),
        torch_dtype="float32",
        traits=Traits(),
    )


@pytest.mark.parametrize(
    ("changes", "traits"),
    [
        ({"attention_bias": True}, Traits(qkv_bias=True, output_bias=True)),
        ({"architectures": ["MistralForCausalLM"], "sliding_window": None}, Traits()),
        ({"architectures": ["MistralForCausalLM"], "sliding_window": 512}, Traits()),
        ({"architectures": ["MistralForCausalLM"]}, Traits()),
        ({"architectures": ["Qwen2ForCausalLM"], "sliding_window": 100}, Traits(qkv_bias=True)),
        ({"architectures": ["Qwen3ForCausalLM"], "use_sliding_window": False}, Traits(qk_norm=True)),
        ({"architectures": ["Another", "LlamaForCausalLM"], "auto_map": {"AutoModel": "file.Model"}}, Traits()),
    ],
)
def test_a_family_has_its_traits(tmp_path: Path, changes: dict[str, Any], traits: Traits) -> None:
    assert ModelConfig.load(written(tmp_path, changes)).traits == traits


def test_what_may_be_left_out(tmp_path: Path) -> None:
    config = ModelConfig.load(
        written(tmp_path, dict.fromkeys(("num_key_value_heads", "hidden_act", "eos_token_id"), ...))
    )
    assert (config.num_kv_heads, config.head_dim, config.rope_theta) == (6, 8, 10000.0)
    assert (config.eos_token_ids, config.bos_token_id, config.tie_word_embeddings) == ((), None, False)


@pytest.mark.parametrize(
    "fields",
    [
        {"rope_theta": 5e5, "rope_scaling": LLAMA3},
        {"rope_parameters": LLAMA3 | {"rope_theta": 5e5}},
        {"rope_theta": 5e5, "rope_scaling": {"type": LLAMA3["rope_type"]} | LLAMA3 | {"rope_type": None}},
    ],
    ids=["older", "newer", "oldest"],
)
def test_llama3_rope_in_every_spelling(tmp_path: Path, fields: dict[str, Any]) -> None:
    config = ModelConfig.load(written(tmp_path, fields))
    assert config.rope_theta == 5e5
    assert config.rope_scaling == Llama3Scaling(8.0, 1.0, 4.0, 8192.0)


@pytest.mark.parametrize("name", ["dtype", "torch_dtype"])
def test_the_checkpoints_element_type(tmp_path: Path, name: str) -> None:
    assert ModelConfig.load(written(tmp_path, {name: "bfloat16"})).torch_dtype == "bfloat16"


@pytest.mark.parametrize(
    ("generation", "expected"),
    [(None, (7,)), ({}, (7,)), ({"eos_token_id": 9}, (9,)), ({"eos_token_id": [9, 11]}, (9, 11))],
)
def test_generation_config_has_the_word_on_end_tokens(
    tmp_path: Path, generation: dict[str, Any] | None, expected: tuple[int, ...]
) -> None:
    assert ModelConfig.load(written(tmp_path, {}, generation)).eos_token_ids == expected


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, "architectures is ['GPT2LMHeadModel']: it must be one of LlamaFor"),
        ({"architectures": ...}, "architectures is []: it must be one of LlamaForCausalLM"),
        ({"hidden_size": ...}, "has no hidden_size"),
        ({"rms_norm_eps": ...}, "has no rms_norm_eps"),
        ({"vocab_size": 0}, "vocab_size is 0: it must be a whole number of at least 1"),
        ({"vocab_size": "many"}, "vocab_size is 'many': it must be a whole number of at least 1"),
        ({"num_hidden_layers": True}, "num_hidden_layers is True: it must be a whole number of at least 1"),
        ({"rms_norm_eps": -1}, "rms_norm_eps is -1: it must be a number above 0"),
        ({"num_key_value_heads": 4}, "num_attention_heads is 6: it must be a multiple of num_key_value_heads"),
        ({"head_dim": 9}, "head_dim is 9: it must be even"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu': it must be 'silu', nothing else is supported"),
        ({"attention_bias": "yes"}, "attention_bias is 'yes': it must be true or false"),
        ({"tie_word_embeddings": 1}, "tie_word_embeddings is 1: it must be true or false"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5: it must be 1.0, nothing else is supported"),
        ({"architectures": "LlamaForCausalLM"}, "architectures is 'LlamaForCausalLM': it must be a list"),
        ({"architectures": [["LlamaForCausalLM"]]}, "architectures is [['LlamaForCausalLM']]: it must be one of"),
        (
            {"architectures": ["NewForCausalLM"], "auto_map": {"AutoModelForCausalLM": "modeling_new.NewForCausalLM"}},
            "Qwen3ForCausalLM: code that comes with a model (auto_map) is never run.",
        ),
        (
            {"architectures": ["MistralForCausalLM"], "sliding_window": 511},
            "sliding_window is 511: it must be null, or at least max_position_embeddings, which is 512",
        ),
        (
            {"architectures": ["MistralForCausalLM"], "max_position_embeddings": 8192},
            "sliding_window is 4096: it must be null, or at least max_position_embeddings, which is 8192",
        ),
        (
            {"architectures": ["Qwen2ForCausalLM"], "use_sliding_window": True},
            "use_sliding_window is True: it must be False, nothing else is supported yet",
        ),
        (
            {"architectures": ["Qwen3ForCausalLM"], "use_sliding_window": True},
            "use_sliding_window is True: it must be False, nothing else is supported yet",
        ),
        ({"mlp_bias": True}, "mlp_bias is True: it must be False, nothing else is supported"),
        ({"quantization_config": {"bits": 4}}, "quantization_config is {'bits': 4}: it must be absent"),
        ({"rope_scaling": {"rope_type": "yarn"}}, "rope_type is 'yarn': it must be 'default' or 'llama3'"),
        ({"rope_parameters": {"rope_type": "dynamic"}}, "rope_type is 'dynamic': it must be 'default' or 'llama3'"),
        ({"rope_scaling": {"rope_type": "llama3"}}, "has no factor"),
        ({"rope_scaling": "llama3"}, "rope_scaling is 'llama3': it must be an object"),
    ],
)
def test_one_sentence_for_what_cannot_be_served(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(CannotStart, match=re.escape(sentence)) as raised:
        ModelConfig.load(written(tmp_path, changes))
    assert str(tmp_path / "config.json") in str(raised.value)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(None, "There is no"), ("{", "cannot be read as JSON"), ("[]", "holds no JSON object")],
)
def test_one_sentence_for_a_file_that_cannot_be_read(tmp_path: Path, content: str | None, sentence: str) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(CannotStart, match=sentence):
        ModelConfig.load(tmp_path)


@pytest.mark.parametrize("module", ["engine.model.config", "engine.model.layout", "engine.model.uniform"])
def test_knows_nothing_of_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
