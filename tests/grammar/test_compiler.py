"""The compile process: each schema once, in bounded time and memory; whatever becomes of it, the next one works."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from engine.errors import EngineFailure, InvalidRequest
from engine.gateway.tokenizer import TextTokenizer
from engine.grammar.compiler import GrammarCompiler
from engine.grammar.grammars import Grammars
from engine.grammar.vocabulary import Vocabulary
from tests.checkpoints import END_OF_TEXT_ID
from tests.grammar.byte_grammars import allowed_ids

SMALL = b'{"type": "integer"}'
SLOW = b'{"type": "string", "pattern": "^(a{1,400}b{1,400}c{0,400}){1,400}[a-z]{3,900}$"}'
LARGE = b'{"type": "array", "items": {"type": "string", "maxLength": 700}, "minItems": 1, "maxItems": 900}'


def compiling(path: Path, scenario: Callable[[GrammarCompiler], Awaitable[None]], seconds: float | None = None) -> None:
    """Run a scenario with a compiler of its own."""

    async def run() -> None:
        compiler = GrammarCompiler(path, seconds)
        try:
            await scenario(compiler)
        finally:
            compiler.stop()

    asyncio.run(run())


def pid(compiler: GrammarCompiler) -> int:
    assert compiler._process is not None
    return compiler._process._child.pid


def test_a_schema_becomes_a_grammar_that_workers_read(small_llama: Path) -> None:
    async def scenario(compiler: GrammarCompiler) -> None:
        grammar = await compiler.grammar(SMALL)
        worker = Grammars.of_model(small_llama)
        assert worker is not None
        first = model_ids(b"-0123456789", small_llama)
        assert sorted(allowed_ids(worker.matcher(grammar, []))) == first

    compiling(small_llama, scenario)


def model_ids(text: bytes, path: Path) -> list[int]:
    return sorted(TextTokenizer.load(path).encode(text.decode(), add_special_tokens=False))


def test_the_process_starts_with_the_first_schema_and_each_is_compiled_once(small_llama: Path) -> None:
    async def scenario(compiler: GrammarCompiler) -> None:
        assert compiler._process is None
        one, other = await asyncio.gather(compiler.grammar(SMALL), compiler.grammar(SMALL))
        assert one is other
        os.kill(pid(compiler), signal.SIGKILL)
        assert await compiler.grammar(SMALL) is one

    compiling(small_llama, scenario)


def test_it_has_no_torch(small_llama: Path) -> None:
    async def scenario(compiler: GrammarCompiler) -> None:
        await compiler.grammar(SMALL)
        mapped = [region.path for region in psutil.Process(pid(compiler)).memory_maps()]
        assert any("xgrammar" in path for path in mapped)
        assert not any("torch" in path for path in mapped)

    compiling(small_llama, scenario)


def test_a_schema_that_takes_too_long_is_ended_and_remembered(small_llama: Path) -> None:
    async def scenario(compiler: GrammarCompiler) -> None:
        await compiler.grammar(SMALL)
        ended = pid(compiler)
        for _ in range(2):
            with pytest.raises(InvalidRequest, match="takes longer than 0.5 s to compile"):
                await compiler.grammar(SLOW)
        assert not psutil.pid_exists(ended)
        assert compiler._process is None
        assert await compiler.grammar(b'{"type": "boolean"}')

    compiling(small_llama, scenario, seconds=0.5)


def test_what_compiles_to_too_much_is_refused(small_llama: Path) -> None:
    async def scenario(compiler: GrammarCompiler) -> None:
        with pytest.raises(InvalidRequest, match="MiB compiled, and at most 16 MiB are possible"):
            await compiler.grammar(LARGE)
        assert await compiler.grammar(SMALL)

    compiling(small_llama, scenario)


def test_a_process_that_ends_while_it_compiles_refuses_the_schema(small_llama: Path) -> None:
    async def scenario(compiler: GrammarCompiler) -> None:
        await compiler.grammar(SMALL)
        os.kill(pid(compiler), signal.SIGKILL)
        with pytest.raises(InvalidRequest, match="cannot be compiled within the memory"):
            await compiler.grammar(b'{"type": "null"}')
        assert await compiler.grammar(b'{"type": "boolean"}')

    compiling(small_llama, scenario)


def test_a_model_without_a_tokenizer_has_no_compiler(tmp_path: Path) -> None:
    async def scenario(compiler: GrammarCompiler) -> None:
        with pytest.raises(EngineFailure, match="does not start"):
            await compiler.grammar(SMALL)

    assert Grammars.of_model(tmp_path) is None
    compiling(tmp_path, scenario)


def test_the_end_is_what_the_config_says(small_llama: Path) -> None:
    vocabulary = Vocabulary.load(small_llama)
    assert vocabulary.end_ids == [END_OF_TEXT_ID]
    assert vocabulary.size > END_OF_TEXT_ID
