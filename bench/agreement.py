"""Do two appliances give the same greedy tokens, and where they do not, how close was the choice?

    python bench/agreement.py collect --url http://127.0.0.1:8000 --api-key sk-… --out cpu.jsonl
    python bench/agreement.py compare cpu.jsonl gpu.jsonl

A first difference is reported with its logit gap: how far, by the model in float32 on the CPU, the other token stands
below the best one after the same beginning. Two devices that round differently part only where that gap is small.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, NamedTuple

import httpx
import torch
import typer

from engine.config import DEMO_MODEL

app = typer.Typer(add_completion=False)

QUESTIONS = [
    "What does os.path.join do?",
    "Hello!",
    "Who are you?",
    "Explain itertools.chain.",
    "How do I read a file line by line?",
    "Which module parses JSON?",
    "What is a generator?",
    "Show me how to use collections.Counter.",
    "What does the with statement do?",
    "How can I sort a list of dictionaries?",
    "What does functools.lru_cache do?",
    "Explain asyncio.gather.",
    "What is a context manager?",
    "How do I start a subprocess?",
    "What does re.compile return?",
    "Thanks!",
]
TEXTS = [
    "import os\n\ndef walk(",
    "class Counter(dict):\n",
    "The datetime module supplies",
    "def test_",
    "Return a new list containing",
    "for line in file:\n    ",
    "try:\n    import ",
    "Changed in version 3.",
]
OUTPUT_TOKENS = 64


class Answer(NamedTuple):
    """One greedy generation."""

    prompt: str
    prompt_ids: list[int]
    token_ids: list[int]


class Difference(NamedTuple):
    """Where two answers part: output number `position`, and how far below the best one the other's token stands."""

    position: int
    gap: float


@app.command()
def collect(
    url: Annotated[str, typer.Option()],
    api_key: Annotated[str, typer.Option()],
    out: Annotated[Path, typer.Option()],
) -> None:
    """Ask a running appliance and write one JSON line an answer."""
    headers = {"Authorization": f"Bearer {api_key}"}
    with httpx.Client(base_url=url, headers=headers, timeout=300.0, trust_env=False) as client, out.open("w") as file:
        model = client.get("/v1/models").json()["data"][0]["id"]
        greedy = {"model": model, "temperature": 0, "max_tokens": OUTPUT_TOKENS, "return_token_ids": True}
        for question in QUESTIONS:
            body = greedy | {"messages": [{"role": "user", "content": question}]}
            write_answer(file, question, client.post("/v1/chat/completions", json=body))
        for text in TEXTS:
            write_answer(file, text, client.post("/v1/completions", json=greedy | {"prompt": text}))
    typer.echo(f"{len(QUESTIONS) + len(TEXTS)} answers in {out}")


def write_answer(file, prompt: str, response: httpx.Response) -> None:
    body = response.raise_for_status().json()
    choice = body["choices"][0]
    prompt_ids = choice.get("prompt_token_ids") or body["prompt_token_ids"]
    file.write(json.dumps({"prompt": prompt, "prompt_ids": prompt_ids, "token_ids": choice["token_ids"]}) + "\n")


@app.command()
def compare(
    first: Path,
    second: Path,
    model: Annotated[Path, typer.Option(help="The model both served.")] = DEMO_MODEL,
) -> None:
    """Tell for each prompt whether the answers are equal, and if not, where and by how little they part."""
    from transformers import AutoModelForCausalLM  # noqa: PLC0415  only this command needs it

    reference = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    gaps = []
    for one, other in zip(read_answers(first), read_answers(second), strict=True):
        assert one.prompt_ids == other.prompt_ids, f"not the same prompt: {one.prompt!r}"
        difference = first_difference(reference, one, other)
        if difference is None:
            typer.echo(f"equal, {len(one.token_ids):3} tokens              {one.prompt!r}")
        else:
            gaps.append(difference.gap)
            typer.echo(f"differ at token {difference.position:3}, gap {difference.gap:6.4f}   {one.prompt!r}")
    count = len(read_answers(first))
    typer.echo(f"{count - len(gaps)} of {count} answers equal; largest gap {max(gaps, default=0.0):.4f}")


def read_answers(path: Path) -> list[Answer]:
    return [Answer(**json.loads(line)) for line in path.read_text().splitlines()]


@torch.inference_mode()
def first_difference(reference: torch.nn.Module, one: Answer, other: Answer) -> Difference | None:
    """Where `other` leaves `one`, judged by the logits after the beginning both have."""
    pairs = zip(one.token_ids, other.token_ids, strict=False)
    index = next((at for at, (a, b) in enumerate(pairs) if a != b), None)
    if index is None:
        return None
    logits = reference(torch.tensor([one.prompt_ids + one.token_ids[:index]])).logits[0, -1]
    return Difference(index, float(logits.max() - logits[other.token_ids[index]]))


if __name__ == "__main__":
    app()
