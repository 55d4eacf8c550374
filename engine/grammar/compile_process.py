"""`python -m engine.grammar.compile_process MODEL_PATH` compiles schemas, one at a time, for one gateway worker.

A process of its own, because nothing else can be ended in the middle of a compilation, or survives one that takes all
memory or the whole stack.
"""

from __future__ import annotations

import resource
import socket
import sys
from pathlib import Path

import msgspec

from engine.grammar.messages import LENGTH, READY
from engine.process import follow_supervisor, run

MEMORY_BYTES = 4 << 30
"""Address space, most of it reserved for threads and never used."""


def main() -> None:
    follow_supervisor()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.modules["torch"] = None  # type: ignore[assignment]  # tvm_ffi would import it, and nothing here has use for it
    from engine.grammar.compiling import SchemaCompiler
    from engine.grammar.vocabulary import Vocabulary

    compiler = SchemaCompiler(Vocabulary.load(Path(sys.argv[1])))
    with socket.socket(fileno=sys.stdin.fileno()) as connection, connection.makefile("rwb") as stream:
        stream.write(READY)
        stream.flush()
        while head := stream.read(LENGTH.size):
            answer = msgspec.msgpack.encode(compiler.compile(stream.read(*LENGTH.unpack(head))))
            stream.write(LENGTH.pack(len(answer)) + answer)
            stream.flush()


run(main)
