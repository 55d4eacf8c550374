"""A schema to a packed grammar, or to the sentence that says why not. Runs in the compile process alone."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from engine.grammar.compiled import Compiled
from engine.grammar.grammars import packed
from engine.grammar.library import library
from engine.grammar.matcher import Matcher
from engine.grammar.vocabulary import Vocabulary

MAX_COMPILED_BYTES = 16 << 20
"""Before packing. A worker unpacks a grammar that is new to it between two steps, which all its requests wait for."""

_SEPARATORS = (", ", ": ")
"""As `json.dumps` writes them. With any whitespace allowed, a model may go on writing nothing else."""

_MAX_THREADS = 4
_STRICT = True
"""Properties that the schema does not speak of are not allowed."""

_WHERE = re.compile(r"^\[[\d:]+\] \S+: ")
_CHECK = re.compile(r"^Check failed: .*? is false: ")


class SchemaCompiler:
    """Without a cache: what it makes is kept by those who asked."""

    def __init__(self, vocabulary: Vocabulary):
        self._vocabulary = vocabulary
        self._compiler = library().compiler(vocabulary.info, min(_MAX_THREADS, os.cpu_count() or 1), False, -1)

    def compile(self, schema: bytes) -> Compiled:
        """What xgrammar warns of is what it passes over, so a warning refuses as an error does."""
        with _complaints() as complaints:
            try:
                grammar = self._grammar(schema.decode())
            except Exception as error:  # the library knows many, and all speak of the schema
                return Compiled(problem=f"The schema cannot be compiled: {_reason(str(error))}.")
        if complaints:
            return Compiled(problem=f"The schema cannot be kept to here: {_reason(complaints[0])}.")
        if Matcher(grammar, self._vocabulary).is_stuck:
            return Compiled(problem="No text is valid by this schema.")
        text = str(grammar.serialize_json())
        if len(text) > MAX_COMPILED_BYTES:
            return Compiled(problem=_too_large(len(text)))
        return Compiled(packed(text))

    def _grammar(self, schema: str) -> Any:
        any_whitespace, indent, most_whitespace, any_order = False, None, None, False
        return self._compiler.compile_json_schema(
            schema, any_whitespace, indent, _SEPARATORS, _STRICT, most_whitespace, any_order
        )


def _too_large(length: int) -> str:
    return f"The schema takes {length >> 20} MiB compiled, and at most {MAX_COMPILED_BYTES >> 20} MiB are possible."


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """Lines that the library writes to standard error, there when the context is left."""
    lines = list[str]()
    kept = os.dup(2)
    try:
        with tempfile.TemporaryFile() as file:
            os.dup2(file.fileno(), 2)
            try:
                yield lines
            finally:
                os.dup2(kept, 2)
                file.seek(0)
                lines += [line for line in file.read().decode(errors="replace").splitlines() if "Warning:" in line]
    finally:
        os.close(kept)


def _reason(text: str) -> str:
    """The library's words, without where in its sources they were said."""
    words = _CHECK.sub("", _WHERE.sub("", text.strip()))
    return " ".join(words.removeprefix("Warning: ").split()).rstrip(".")[:300]
