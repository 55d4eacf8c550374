"""`semi-pd kernels`: has the GPU kernels of a model built before they are needed, or says whether they are."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option, Typer

from appliance.commands.terminal import REFUSED, explained
from appliance.kernels import build_kernels, kernel_notice, missing_kernels
from appliance.mps import visible_gpu
from appliance.prebuilt import export as export_kernels
from engine.config import ServerArgs
from engine.device.detect import detect_device
from engine.errors import CannotStart
from engine.kernel_cache import KernelCache, compute_capability, installed_versions

app = Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)

Model = Annotated[Path | None, Option(help="Hugging Face model directory; the embedded demo model if absent.")]
Dtype = Annotated[str | None, Option(help="auto, float32, bfloat16 or float16.")]


@app.callback()
def kernels() -> None:
    """Build the GPU kernels that a model's shape needs, or check whether they are built."""


@app.command()
def check(model: Model = None, dtype: Dtype = None) -> None:
    """Say whether they have to be built; exit code 1 if so."""
    with explained():
        settings = settings_of(model, dtype)
        notice = kernel_notice(settings)
    typer.echo(notice or ("The GPU kernels are built." if settings.device == "cuda" else "The CPU needs none."))
    sys.exit(REFUSED if notice else 0)


@app.command()
def build(model: Model = None, dtype: Dtype = None) -> None:
    """Build them, if they are not built."""
    with explained():
        settings = settings_of(model, dtype)
        is_built = settings.device == "cuda" and not missing_kernels(settings)
        typer.echo("The GPU kernels are built." if is_built else build_kernels(settings))


@app.command()
def export(folder: Annotated[Path, Argument(help="A folder to make.")]) -> None:
    """Make a folder of all that are built for this GPU, for machines without nvcc: install.sh --kernels takes it."""
    with explained():
        settings = settings_of(None, None)
        capability = compute_capability(visible_gpu(settings.gpu, os.environ)) if settings.device == "cuda" else None
        if capability is None:
            raise CannotStart("There is no NVIDIA GPU here for which kernels could have been built.")
        typer.echo(export_kernels(KernelCache.of(os.environ), capability, installed_versions(), folder))


def settings_of(model: Path | None, dtype: str | None) -> ServerArgs:
    given = {"model_path": model, "dtype": dtype}
    settings = ServerArgs(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    return settings.for_device(detect_device(settings.device))
