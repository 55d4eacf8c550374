"""`python -m appliance.machine.addresses ETC`: a line for each port that systemd holds, its unit and its address."""

from __future__ import annotations

import sys
from pathlib import Path

from appliance.machine.settings import read_settings
from engine.config import ServerArgs
from engine.process import run


def addresses(settings: ServerArgs) -> dict[str, str]:
    """Unit to address, in the form of `ListenStream=`."""
    found = {"semi-pd-gateway": _address(settings.host, settings.port)}
    if settings.console_port:
        found["semi-pd-console"] = _address(settings.console_host, settings.console_port)
    return found


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def main() -> None:
    for unit, address in addresses(read_settings(Path(sys.argv[1]))).items():
        print(unit, address)


if __name__ == "__main__":
    run(main)
