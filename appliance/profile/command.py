"""`semi-pd profile`: shows the machine's profile, and makes it where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from typer import Option

from appliance.instance import Instance
from appliance.profile.fitting import key_of, shared_device
from appliance.profile.make import make_profile
from appliance.profile.offer import STEP_PERCENT
from appliance.profile.store import ProfileStore
from appliance.profile.table import show_profile
from engine.allocation import Splitter
from engine.config import Mode, ServerArgs
from engine.device.detect import detect_device
from engine.errors import CannotStart
from engine.profile.key import ProfileKey
from engine.profile.record import MachineProfile


def profile(
    model: Annotated[Path | None, Option(help="Hugging Face model directory; only its config.json is read.")] = None,
    device: Annotated[str | None, Option(help="auto, cuda or cpu.")] = None,
    gpu: Annotated[str | None, Option(help="Index or UUID of the GPU to use.")] = None,
    splitter: Annotated[Splitter | None, Option(help="green or mps on a GPU, duty on the CPU.")] = None,
    dtype: Annotated[str | None, Option(help="auto, float32, bfloat16 or float16.")] = None,
    deterministic: Annotated[
        bool | None, Option("--deterministic", help="For an appliance that is served with --deterministic.")
    ] = None,
    step: Annotated[
        int | None, Option(help="Shares are multiples of so many percent; 10 if absent.", min=5, max=50)
    ] = None,
    remake: Annotated[bool, Option("--remake", help="Measure again even if there is a profile that holds.")] = False,
    as_json: Annotated[bool, Option("--json", help="As JSON.")] = False,
) -> None:
    """Test every share of the device and measure both phases at each split; show what is kept of it."""
    given = {
        "model_path": model,
        "device": device,
        "gpu": gpu,
        "splitter": splitter,
        "dtype": dtype,
        "deterministic": deterministic,
    }
    settings = ServerArgs(**{name: value for name, value in given.items() if value is not None})
    measured = _kept_or_made(settings, step, remake, Console(stderr=True))
    if as_json:
        typer.echo(msgspec.json.encode(measured).decode())
    else:
        show_profile(measured, Console())


def _kept_or_made(settings: ServerArgs, step: int | None, remake: bool, console: Console) -> MachineProfile:
    settings = settings.for_device(detect_device(settings.device))
    if settings.splitter is Splitter.NONE:
        raise CannotStart("The splitter none divides nothing: there are no shares to test.")
    key, store = key_of(settings), ProfileStore.of_user()
    kept = store.find(key)
    if kept.profile is not None and not remake and step in (None, kept.profile.conditions.step_percent):
        return kept.profile
    if kept.stale:
        console.print(kept.stale)
    made = _make(settings, key, step or STEP_PERCENT, console)
    console.print(f"Kept in {store.keep(made)}.", soft_wrap=True)
    return made


def _make(settings: ServerArgs, key: ProfileKey, step: int, console: Console) -> MachineProfile:
    """With the device for itself: the appliance of this user must not run meanwhile."""
    shared = shared_device(settings)
    if shared.settings.mode is Mode.COLOCATED:
        raise CannotStart(" ".join(["There are no shares to measure.", *shared.notices]))
    for notice in shared.notices:
        console.print(notice)
    instance = Instance.of_user()
    instance.claim()
    try:
        with console.status("Measuring: loading") as status:
            return make_profile(settings, key, step, instance.log_dir, lambda what: status.update(f"Measuring: {what}"))
    finally:
        instance.release()
