"""A random model answers many schemas at once, and every answer is valid by its own."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from engine.gateway.tokenizer import TextTokenizer
from engine.grammar.compiling import SchemaCompiler
from engine.grammar.grammars import Grammars
from engine.grammar.schema import checked
from engine.grammar.vocabulary import Vocabulary
from engine.model.history import History
from engine.model.segment import Segment
from engine.request import FinishReason, SamplingParams
from tests.checkpoints import END_OF_TEXT_ID
from tests.grammar.byte_grammars import random_schema
from tests.model.serving import Sequence, Server, prompts

MAX_TOKENS = 600
ROWS = 12


@dataclass
class Asker:
    """One request among others; without a schema it may say what it likes."""

    sequence: Sequence
    sampling: SamplingParams
    schema: dict[str, Any] | None
    history: History | None
    finish: FinishReason | None = None
    drawn: list[int] = field(default_factory=list)

    @property
    def segment(self) -> Segment:
        tokens = (self.sequence.token_ids + self.drawn)[self.sequence.computed :]
        return Segment(
            tokens, self.sequence.computed, self.sequence.pages, self.sampling, len(self.drawn), self.history
        )

    def take(self, token_id: int) -> None:
        self.sequence.computed = len(self.sequence.token_ids) + len(self.drawn)
        self.finish = self.sampling.finish_reason(token_id, len(self.drawn))
        self.drawn.append(token_id)
        if self.history is not None:
            self.history.append(token_id)


@pytest.fixture(scope="module")
def server(small_llama: Path) -> Server:
    return Server(small_llama, page_size=16, num_pages=800)


def askers(server: Server, path: Path, seed: int) -> list[Asker]:
    """Three of four have a schema; half are greedy, some with penalties and logprobs besides."""
    source = random.Random(seed)
    vocabulary = Vocabulary.load(path)
    compiler, grammars = SchemaCompiler(vocabulary), Grammars(vocabulary)
    made = []
    for row, prompt in enumerate(prompts(ROWS, END_OF_TEXT_ID, 20, seed)):
        schema = random_schema(source) if row % 4 else None
        sampling = SamplingParams(
            max_tokens=MAX_TOKENS if schema else 40,
            seed=row,
            temperature=0.0 if row % 2 else 1.5,
            stop_token_ids=(END_OF_TEXT_ID,),
            repetition_penalty=1.3 if row % 3 == 0 else 1.0,
            top_p=0.9 if row % 5 == 0 else 1.0,
            logprobs=1 if row % 6 == 1 else None,
            grammar=compiler.compile(checked(schema)).grammar if schema else None,
        )
        history = History.wanted_by(sampling, prompt, 0, grammars)
        made.append(Asker(server.sequence(prompt, MAX_TOKENS), sampling, schema, history))
    return made


def answer(server: Server, rows: list[Asker]) -> None:
    while going := [row for row in rows if row.finish is None]:
        for row, choice in zip(going, server.runner.step([row.segment for row in going]), strict=True):
            assert choice is not None
            row.take(choice.token_id)
    for row in rows:
        server._free_pages += row.sequence.pages


@pytest.mark.parametrize("seed", range(3))
def test_every_answer_is_valid_by_its_own_schema(server: Server, small_llama: Path, seed: int) -> None:
    rows = askers(server, small_llama, seed)
    answer(server, rows)
    pieces = TextTokenizer.load(small_llama).pieces
    for row in rows:
        if row.schema is not None:
            assert row.finish is FinishReason.STOP
            text = b"".join(pieces[token_id] for token_id in row.drawn)
            jsonschema.validate(json.loads(text), row.schema)


def test_those_without_a_grammar_say_what_they_say_alone(server: Server, small_llama: Path) -> None:
    rows = askers(server, small_llama, seed=9)
    answer(server, rows)
    free = [row for row in rows if row.schema is None]
    alone = [row for row in askers(server, small_llama, seed=9) if row.schema is None]
    answer(server, alone)
    assert [row.drawn for row in alone] == [row.drawn for row in free]
    assert all(row.drawn for row in free)


def test_reported_probabilities_are_the_models_own(server: Server, small_llama: Path) -> None:
    """The grammar forbids what the model likes best, and the report says so."""
    vocabulary = Vocabulary.load(small_llama)
    grammar = SchemaCompiler(vocabulary).compile(b'{"const": null}').grammar
    bound = SamplingParams(max_tokens=1, temperature=0.0, logprobs=1, grammar=grammar)
    history = History.wanted_by(bound, [1, 2, 3], 0, Grammars(vocabulary))
    sequence = server.sequence([1, 2, 3], 2)
    (drawn,) = server.runner.step([Segment([1, 2, 3], 0, sequence.pages, bound, 0, history)])
    assert drawn is not None and drawn.logprob is not None
    assert TextTokenizer.load(small_llama).pieces[drawn.token_id] == b"n"
    ((likeliest, logprob),) = drawn.top_logprobs
    assert likeliest != drawn.token_id and logprob > drawn.logprob > -100.0
