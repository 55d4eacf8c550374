"""What a shift is, on the command line: the same for one that is measured and one that is simulated."""

from __future__ import annotations

from typing import Annotated

from typer import Option

Prompts = Annotated[str, Option(help="What is asked for first and last: much prefill.")]
PromptsRate = Annotated[float, Option(min=0.01, help="Requests a second of it.")]
Answers = Annotated[str, Option(help="What is asked for in between: much decode.")]
AnswersRate = Annotated[float, Option(min=0.01, help="Requests a second of it.")]
PartSeconds = Annotated[float, Option(min=1.0, help="How long each of the three parts lasts.")]
Start = Annotated[str, Option(help="Where the policy begins.")]
TTFT = Annotated[float, Option("--ttft-ms", help="Target for the first token.")]
TPOT = Annotated[float, Option("--tpot-ms", help="Target for the time per token after it.")]
