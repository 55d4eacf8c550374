"""`semi-pd console`: helps who stands at the machine and cannot get into the console."""

from __future__ import annotations

from pathlib import Path

import typer

from appliance.instance import Instance
from webui.accounts.second_factors import LostDevice
from webui.accounts.setup_token import SetupToken

app = typer.Typer(no_args_is_help=True, add_completion=False, help="For who cannot get into the browser console.")


@app.command()
def token() -> None:
    """Print the one-time token that claims a new console."""
    kept = _token()
    value = kept.value
    if value is None:
        typer.echo("This console has been claimed, or was never started. `semi-pd console reset-password` lets you in.")
        raise typer.Exit(1)
    typer.echo(value)


@app.command()
def reset_password() -> None:
    """Print a new one-time token, with which /first-run sets a new password; every session ends then."""
    typer.echo(_token().renew())


@app.command()
def remove_second_factor() -> None:
    """Have the password alone open again: for an owner whose device is lost, and the recovery codes with it."""
    LostDevice(_directory()).say()
    typer.echo("A log-in with the right password, within an hour, asks for no code and removes the second factor.")


def _token() -> SetupToken:
    return SetupToken(_directory())


def _directory() -> Path:
    directory = Instance.of_user().console_dir
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory
