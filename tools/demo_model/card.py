"""The model card. Every figure in it comes from the logs of the run or is measured on the exported model."""

import math
from dataclasses import dataclass
from pathlib import Path

QUESTIONS = ["Hello!", "What does os.path.join do?", "Show me how to use collections.Counter",
             "Write a haiku",
             "How can I read a csv file in Python?", "What is the capital of France?",
             "What is 48 + 37?"]  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """What the card reports. `stages` are the logs of the training runs, in order, as `train` wrote them."""

    stages: list[dict]
    held_out_tokens: int
    text_loss: float
    chat_loss: float
    recalled: int
    asked: int
    sums_right: int
    sums: int
    samples: list[tuple[str, str]]


def render(facts: Facts) -> str:
    first, last = facts.stages[0], facts.stages[-1]
    lowest = min(first["measurements"], key=lambda measurement: measurement["text_loss"])
    template = Path(__file__).with_name("card.md").read_text(encoding="utf-8")
    return template.format(
        **last["shape"],
        parameters=last["parameters"],
        millions=last["parameters"] / 1e6,
        text_tokens=last["train_text_tokens"],
        chat_tokens=last["train_chat_tokens"],
        trained_millions=sum(stage["measurements"][-1]["tokens"] for stage in facts.stages) / 1e6,
        dropout=last["recipe"]["dropout"],
        stages=_stages(facts.stages),
        held_out_tokens=facts.held_out_tokens,
        text_loss=facts.text_loss,
        bits=facts.text_loss / last["bytes_per_token"] / math.log(2),
        chat_loss=facts.chat_loss,
        lowest_seconds=lowest["seconds"],
        lowest_text_loss=lowest["text_loss"],
        recalled=facts.recalled,
        asked=facts.asked,
        sums_right=facts.sums_right,
        sums=facts.sums,
        samples="\n\n".join(f"**{question}**\n\n{_quoted(said)}" for question, said in facts.samples),
    )


def _stages(stages: list[dict]) -> str:
    rows = [
        "| stage | on | wall time | steps | tokens | peak learning rate | final training loss |",
        "|" + " --- |" * 7,
    ]
    for number, stage in enumerate(stages, 1):
        end = stage["measurements"][-1]
        rows.append(
            f"| {number} | {stage['device']} | {end['seconds']:.0f} s | {end['step']} | "
            f"{end['tokens'] / 1e6:.1f} M | {stage['recipe']['learning_rate']} | {end['train_loss']:.3f} |"
        )
    return "\n".join(rows)


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.split("\n"))
