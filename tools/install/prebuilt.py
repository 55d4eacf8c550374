"""`python3 prebuilt.py DIR LOCK CAPABILITY [MODEL]`: whether kernels built elsewhere can be used here; if not, why and
what to do, in a sentence, and exit code 1. Run before anything is installed: it needs the standard library alone.

DIR is what `semi-pd kernels export` has made, LOCK names this release's packages, CAPABILITY is the GPU's ("9.0"),
MODEL the Hugging Face directory that is to be served.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path

PACKAGES = ("torch", "flashinfer-python", "triton")
OWN_SOURCE = Path(__file__).parents[2] / "engine" / "kernels" / "decode_attention.cu"
AGAIN = "make it with 'semi-pd kernels export' on a machine with nvcc, such a GPU and this release"


def problem(folder: Path, lock: Path, capability: str, model: Path | None) -> str:
    """Empty if there is none."""
    try:
        built = json.loads((folder / "built.json").read_bytes())
        sums = [line.split("  ", 1) for line in (folder / "SHA256SUMS").read_text().splitlines()]
    except (OSError, ValueError):
        return f"{folder} holds no kernels that were exported: {AGAIN}"
    for digest, name in sums:
        if not is_whole(folder / name, digest):
            return f"{folder / name} is missing or damaged: copy the folder again"
    for name, version in versions_of(lock).items():
        if built["versions"].get(name) != version:
            there = built["versions"].get(name, "none")
            return f"the kernels in {folder} were built for {name} {there}, and this release has {version}: {AGAIN}"
    fitting = [needs for needs in built["needs"] if needs["compute_capability"] == capability]
    if not fitting:
        others = ", ".join(sorted({needs["compute_capability"] for needs in built["needs"]}))
        return f"the kernels in {folder} are for compute capability {others}, and the GPU has {capability}: {AGAIN}"
    return wrong_shape(folder, fitting, model) if model else ""


def wrong_shape(folder: Path, fitting: list[dict[str, object]], model: Path) -> str:
    try:
        shape = shape_of(model)
    except (OSError, ValueError, KeyError):
        return f"{model} holds no config.json of a model, so whether {folder} fits is not known: name another --model"
    if not any(shape.items() <= needs.items() for needs in fitting):
        return f"the kernels in {folder} are for other shapes than {model} has: {AGAIN}, after 'kernels build --model'"
    return ""


def is_whole(path: Path, digest: str) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == digest
    except OSError:
        return False


def versions_of(lock: Path) -> dict[str, str]:
    """As `engine.kernel_cache.installed_versions` has them."""
    pins = dict(re.findall(r"^([\w-]+)==([^ ]+) ", lock.read_text(), re.MULTILINE))
    own = hashlib.sha256(OWN_SOURCE.read_bytes()).hexdigest()[:12]
    return {name: pins[name] for name in PACKAGES} | {OWN_SOURCE.name: own}


def shape_of(model: Path) -> dict[str, object]:
    """As `engine.kernel_cache.KernelNeeds` has it, but for the element type, which is a setting."""
    config = json.loads((model / "config.json").read_bytes())
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    kv_heads = config.get("num_key_value_heads") or heads
    head_dim = config.get("head_dim") or hidden // heads
    return {
        "head_dim": head_dim,
        "query_group": heads // kv_heads,
        "kv_heads": kv_heads,
        "widths": sorted({hidden, config["intermediate_size"], heads * head_dim}),
    }


def main() -> None:
    folder, lock, capability, *model = sys.argv[1:]
    found = problem(Path(folder), Path(lock), capability, Path(model[0]) if model else None)
    print(found, end="")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
