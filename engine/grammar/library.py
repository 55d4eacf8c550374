"""xgrammar's C++ library, loaded by itself.

The package's Python layer asks for transformers and triton before it does anything; its library needs neither, nor
torch. What is used of it here: `TokenizerInfo`, `GrammarCompiler`, `CompiledGrammar` and `GrammarMatcher`.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

_PREFIX = "xgrammar.tvm_ffi_binding."


class Library(NamedTuple):
    """Its classes; their methods are listed in the package's `tvm_ffi_binding/_ffi_api.py`."""

    tokenizer_info: Any
    compiler: Any
    compiled: Any
    matcher: Any


def is_installed() -> bool:
    """Loads nothing."""
    return all(importlib.util.find_spec(package) for package in ("xgrammar", "tvm_ffi"))


@cache
def library() -> Library:
    """Loaded at the first call; not before CUDA's environment is set where there is torch: tvm_ffi looks for GPUs."""
    tvm_ffi, libinfo = import_module("tvm_ffi"), import_module("tvm_ffi.libinfo")
    spec = importlib.util.find_spec("xgrammar")
    assert spec is not None
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    libinfo.load_lib_module("xgrammar", "xgrammar_bindings", extra_lib_paths=folders)

    def registered(name: str) -> Any:
        return tvm_ffi.register_object(_PREFIX + name)(type(name, (tvm_ffi.Object,), {"__slots__": ()}))

    return Library(
        tokenizer_info=registered("TokenizerInfo"),
        compiler=registered("GrammarCompiler"),
        compiled=registered("CompiledGrammar"),
        matcher=registered("GrammarMatcher"),
    )
