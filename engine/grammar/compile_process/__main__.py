"""`python -m engine.grammar.compile_process MODEL_PATH`: schemas on standard input, which is a socket."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import msgspec

from engine.gateway.side_process import answer_orders
from engine.grammar.compiling import SchemaCompiler
from engine.grammar.vocabulary import Vocabulary
from engine.process import follow_supervisor, run

MEMORY_BYTES = 4 << 30
"""Address space, most of it reserved for threads and never used."""


def main() -> None:
    follow_supervisor()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.modules["torch"] = None  # type: ignore[assignment]  # tvm_ffi would import it, and nothing here has use for it
    compiler = SchemaCompiler(Vocabulary.load(Path(sys.argv[1])))
    answer_orders(lambda schema: msgspec.msgpack.encode(compiler.compile(schema)))


run(main)
