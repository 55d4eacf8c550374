"""The command `semi-pd`."""

from __future__ import annotations

import json
import sys
from importlib import import_module, metadata
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from appliance.commands import backup, doctor, kernels, keys, status, targets
from appliance.commands.remembered import remembered
from appliance.commands.terminal import (
    JSON,
    LOG_LEVEL,
    NOT_RUNNING,
    REFUSED,
    explained,
    log_to_terminal,
    logged,
    tell,
)
from appliance.control.client import ask
from appliance.control.messages import AskDecisions, AskRotation, SetMode
from appliance.instance import Instance
from appliance.person import person
from appliance.status import clock
from engine.allocation import Splitter
from engine.config import Mode, ServerArgs, Standby

ROTATION_SECONDS = 180.0

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


app.command()(status.status)
app.command()(status.rotations)
app.command()(doctor.doctor)
app.add_typer(targets.app, name="slo")
app.add_typer(keys.app, name="keys")
app.add_typer(kernels.app, name="kernels")
app.command()(backup.backup)
app.command()(backup.restore)


@app.callback()
def semi_pd(log_level: LOG_LEVEL = None) -> None:
    """One GPU box that serves a language model and holds its latency targets while the load changes."""
    if log_level is not None:
        log_to_terminal(log_level)


@app.command()
@logged
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
    splitter: Annotated[
        Splitter | None, Option(help="What divides a GPU: green, mps (shares that passed its self-test), none.")
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
    deterministic: Annotated[
        bool | None, Option("--deterministic", help="A request's tokens depend on nothing else; slower.")
    ] = None,
    borrowing: Annotated[
        bool | None, Option(help="Let a phase have the whole device while the other has nothing to do.")
    ] = None,
    in_place: Annotated[
        bool | None, Option(help="Take a split that the workers have prepared without replacing them.")
    ] = None,
    standby: Annotated[
        Standby | None, Option(help="warm: another group is ready to take over at once; cold: its processes are.")
    ] = None,
    group_memory_bytes: Annotated[int | None, Option(help="Device memory one group of workers may take.")] = None,
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
        "splitter": splitter,
        "prefill_sm_percentage": prefill,
        "decode_sm_percentage": decode,
        "load_format": load_format,
        "dtype": dtype,
        "max_model_len": max_model_len,
        "max_running_requests": max_running_requests,
        "kv_memory_bytes": kv_memory_bytes,
        "page_size": page_size,
        "prefill_token_budget": prefill_token_budget,
        "deterministic": deterministic,
        "borrowing": borrowing,
        "in_place": in_place,
        "standby": standby,
        "group_memory_bytes": group_memory_bytes,
        "gateway_workers": gateway_workers,
        "max_requests_per_key": max_requests_per_key,
        "ttft_target_ms": ttft_target_ms,
        "tpot_target_ms": tpot_target_ms,
        "policy": policy,
        "log_level": log_level,
    }
    if log_level is not None:
        log_to_terminal(log_level)
    with explained():
        serve_in_foreground(settings_from(given))


@app.command()
@logged
def rotate(
    prefill: Annotated[int, Option(help="Prefill's share of the SMs, in percent.")],
    decode: Annotated[int, Option(help="Decode's share of the SMs, in percent.")],
    new_group: Annotated[
        bool, Option("--new-group", help="Replace the processes even if the split is in force.")
    ] = False,
    reason: Annotated[str, Option(help="Kept with the rotation.")] = "",
) -> None:
    """Move to another split while requests stream; at 100 and 100 one worker computes both phases."""
    with explained(NOT_RUNNING):
        reply = ask(Instance.of_user(), AskRotation(prefill, decode, new_group, reason), ROTATION_SECONDS)
    typer.echo(reply.sentence)
    sys.exit(0 if reply.done else REFUSED)


@app.command()
@logged
def decisions(as_json: JSON = False, limit: Annotated[int, Option(help="How many, at most.")] = 20) -> None:
    """Show what the SLO policy has decided, and what came of it."""
    records = remembered(AskDecisions(limit))
    if as_json:
        typer.echo(json.dumps(records))
    for record in [] if as_json else records:
        typer.echo(f"{clock(record['decided_at'])}  {record['sentence']}")


@app.command()
@logged
def policy(
    mode: Annotated[str, Argument(help="auto, hold or manual.")],
    reason: Annotated[str, Option(help="Kept with the change, beside who made it and when.")] = "",
) -> None:
    """Let the policy move the split, only say what it would do, or leave the split to you."""
    tell(SetMode(mode, by=person(), reason=reason))


@app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []})
def profile(context: typer.Context) -> None:
    """Test every share of the device, measure both phases at each split, and show what is kept of it."""
    with explained():
        run_program("appliance.profile.command", "profile", context.args)


@app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []})
def simulate(context: typer.Context) -> None:
    """Foretell how a load would be served at each split, under the policy, and colocated."""
    run_program("appliance.simulator.command", "simulate", context.args)


@app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []})
def bench(context: typer.Context) -> None:
    """Measure an OpenAI-compatible endpoint under load."""
    run_program("bench.cli", "app", context.args)


@app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []})
def console(context: typer.Context) -> None:
    """One-time tokens for the browser console: to claim it, to set a new password."""
    with explained():
        run_program("webui.command", "app", context.args, "console")


def run_program(module: str, name: str, arguments: list[str], shown: str = "bench") -> None:
    """Run a command that takes long to import, only when it is asked for."""
    program = getattr(import_module(module), name)
    if not isinstance(program, typer.Typer):
        alone = typer.Typer(add_completion=False)
        alone.command()(program)
        program = alone
    program(arguments, prog_name=f"semi-pd {name if name != 'app' else shown}")


def settings_from(given: dict[str, Any]) -> ServerArgs:
    """Settings from the options that were given; the environment and the defaults fill in the rest."""
    return ServerArgs(**{name: value for name, value in given.items() if value is not None})
