"""The command `semi-pd`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module, metadata
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from typer import Argument, Option

from appliance.control.client import ask
from appliance.control.messages import AskDecisions, AskRotation, AskStatus, Command, SetMode, SetTarget
from appliance.instance import Instance
from appliance.status import clock, show_rotations, show_status
from engine.config import Mode, ServerArgs, explain
from engine.errors import CANNOT_START, SemiPDError

ROTATION_SECONDS = 180.0
REFUSED = 1
NOT_RUNNING = 3
"""Exit code of commands that found no running appliance; the same as `systemctl status` has."""

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def semi_pd() -> None:
    """One GPU box that serves a language model and holds its latency targets while the load changes."""


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(metadata.version("semi-pd"))


@app.command()
def serve(
    model: Annotated[
        Path | None, Option(help="Hugging Face model directory; the embedded demo model if absent.")
    ] = None,
    host: Annotated[
        str | None,
        Option("--bind", "--host", help="Address to listen on; without TLS, one of this machine's own only."),
    ] = None,
    port: Annotated[int | None, Option(help="Port of the REST endpoint.")] = None,
    tls_cert: Annotated[Path | None, Option(help="Certificate chain of the REST endpoint, PEM.")] = None,
    tls_key: Annotated[Path | None, Option(help="Its key, PEM; absent if it is in the certificate's file.")] = None,
    insecure_bind: Annotated[
        bool | None, Option("--insecure-bind", help="Let --bind leave this machine without TLS: keys travel in clear.")
    ] = None,
    console_port: Annotated[int | None, Option(help="Port of the console.")] = None,
    device: Annotated[str | None, Option(help="auto, cuda or cpu.")] = None,
    gpu: Annotated[str | None, Option(help="Index or UUID of the GPU to use.")] = None,
    mode: Annotated[
        Mode | None, Option(help="semi_pd: two workers share the device; colocated: one does both.")
    ] = None,
    prefill: Annotated[int | None, Option(help="Prefill's share of the SMs, in percent.")] = None,
    decode: Annotated[int | None, Option(help="Decode's share of the SMs, in percent.")] = None,
    load_format: Annotated[str | None, Option(help="auto, or dummy for random weights.")] = None,
    dtype: Annotated[str | None, Option(help="auto, float32, bfloat16 or float16.")] = None,
    max_model_len: Annotated[int | None, Option(help="Longest prompt and answer together, in tokens.")] = None,
    max_running_requests: Annotated[int | None, Option(help="Requests computed at once.")] = None,
    kv_memory_bytes: Annotated[int | None, Option(help="Bytes of the KV cache.")] = None,
    page_size: Annotated[int | None, Option(help="Tokens a KV page.")] = None,
    prefill_token_budget: Annotated[int | None, Option(help="Prompt tokens of one prefill step.")] = None,
    gateway_workers: Annotated[int | None, Option(help="Processes of the REST endpoint.")] = None,
    max_requests_per_key: Annotated[int | None, Option(help="Requests of one API key in progress at once.")] = None,
    ttft_target_ms: Annotated[float | None, Option(help="Target of the time to the first token.")] = None,
    tpot_target_ms: Annotated[float | None, Option(help="Target of the time a token.")] = None,
    policy: Annotated[str | None, Option(help="auto, hold or manual: who moves the split.")] = None,
    log_level: Annotated[str | None, Option(help="DEBUG, INFO, WARNING or ERROR.")] = None,
) -> None:
    """Serve in the foreground until Ctrl-C."""
    from appliance.serve import serve_in_foreground  # noqa: PLC0415  the other commands start without it

    given = {
        "model_path": model,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "insecure_bind": insecure_bind,
        "host": host,
        "port": port,
        "console_port": console_port,
        "device": device,
        "gpu": gpu,
        "mode": mode,
        "prefill_sm_percentage": prefill,
        "decode_sm_percentage": decode,
        "load_format": load_format,
        "dtype": dtype,
        "max_model_len": max_model_len,
        "max_running_requests": max_running_requests,
        "kv_memory_bytes": kv_memory_bytes,
        "page_size": page_size,
        "prefill_token_budget": prefill_token_budget,
        "gateway_workers": gateway_workers,
        "max_requests_per_key": max_requests_per_key,
        "ttft_target_ms": ttft_target_ms,
        "tpot_target_ms": tpot_target_ms,
        "policy": policy,
        "log_level": log_level,
    }
    with explained():
        serve_in_foreground(settings_from(given))


JSON = Annotated[bool, Option("--json", help="As JSON, for programs.")]


@app.command()
def status(as_json: JSON = False) -> None:
    """Show how the running appliance is."""
    with explained(NOT_RUNNING):
        answer = ask(Instance.of_user(), AskStatus())
        if as_json:
            typer.echo(answer.data)
        else:
            show_status(json.loads(answer.data), Console())


@app.command()
def rotations(as_json: JSON = False) -> None:
    """Show the rotations so far, and what became of each."""
    with explained(NOT_RUNNING):
        records = json.loads(ask(Instance.of_user(), AskStatus()).data)["rotations"]
        if as_json:
            typer.echo(json.dumps(records))
        else:
            show_rotations(records, Console())


@app.command()
def rotate(
    prefill: Annotated[int, Option(help="Prefill's share of the SMs, in percent.")],
    decode: Annotated[int, Option(help="Decode's share of the SMs, in percent.")],
    new_group: Annotated[
        bool, Option("--new-group", help="Replace the processes even if the split is in force.")
    ] = False,
    reason: Annotated[str, Option(help="Kept with the rotation.")] = "",
) -> None:
    """Move to another split while requests stream."""
    with explained(NOT_RUNNING):
        reply = ask(Instance.of_user(), AskRotation(prefill, decode, new_group, reason), ROTATION_SECONDS)
    typer.echo(reply.sentence)
    sys.exit(0 if reply.done else REFUSED)


@app.command()
def decisions(as_json: JSON = False, limit: Annotated[int, Option(help="How many, at most.")] = 20) -> None:
    """Show what the SLO policy has decided, and what came of it."""
    with explained(NOT_RUNNING):
        records = json.loads(ask(Instance.of_user(), AskDecisions(limit)).data)
    if as_json:
        typer.echo(json.dumps(records))
    for record in [] if as_json else records:
        typer.echo(f"{clock(record['decided_at'])}  {record['sentence']}")


@app.command()
def slo(
    ttft_ms: Annotated[float, Option(help="Target of the time to the first token.")],
    tpot_ms: Annotated[float, Option(help="Target of the time a token.")],
) -> None:
    """Set the SLO targets of the running appliance."""
    tell(SetTarget(ttft_ms, tpot_ms))


@app.command()
def policy(mode: Annotated[str, Argument(help="auto, hold or manual.")]) -> None:
    """Let the policy move the split, only say what it would do, or leave the split to you."""
    tell(SetMode(mode))


@app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []})
def simulate(context: typer.Context) -> None:
    """Foretell how a load would be served at each split, under the policy, and colocated."""
    run_program("appliance.simulator.command", "simulate", context.args)


@app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []})
def bench(context: typer.Context) -> None:
    """Measure an OpenAI-compatible endpoint under load."""
    run_program("bench.cli", "app", context.args)


def run_program(module: str, name: str, arguments: list[str]) -> None:
    """Run a command that takes long to import, only when it is asked for."""
    program = getattr(import_module(module), name)
    if not isinstance(program, typer.Typer):
        alone = typer.Typer(add_completion=False)
        alone.command()(program)
        program = alone
    program(arguments, prog_name=f"semi-pd {name}" if name != "app" else "semi-pd bench")


def tell(command: Command) -> None:
    """Have something done, and say what was done."""
    with explained(NOT_RUNNING):
        reply = ask(Instance.of_user(), command)
    typer.echo(reply.sentence)
    sys.exit(0 if reply.done else REFUSED)


def settings_from(given: dict[str, Any]) -> ServerArgs:
    """Settings from the options that were given; the environment and the defaults fill in the rest."""
    return ServerArgs(**{name: value for name, value in given.items() if value is not None})


@contextmanager
def explained(exit_code: int = CANNOT_START) -> Iterator[None]:
    """What keeps a command from doing its work becomes one sentence and an exit code that says so."""
    try:
        yield
    except (ValidationError, SemiPDError) as error:
        typer.secho(explain(error) if isinstance(error, ValidationError) else str(error), err=True, fg="red")
        sys.exit(exit_code)
