"""`python -m appliance.machine.describe ETC`: what the administrator wants to know after an installation."""

from __future__ import annotations

import sys
from pathlib import Path

from appliance.instance import Instance
from appliance.machine.settings import read_settings
from appliance.serve import describe_console, endpoint_url
from engine.config import ServerArgs
from engine.process import run

BANNER = """
{model} is served.

  REST endpoint  {url}/v1
  API key        sudo cat {key_file}
  Console        {console}
  Settings       {etc}, made effective by `sudo systemctl restart semi-pd.target`
  Logs           journalctl -u 'semi-pd*'
"""


def banner(settings: ServerArgs, instance: Instance, etc: Path) -> str:
    """The key itself is not shown: a terminal's history and an installation's log are no place for it."""
    return BANNER.format(
        model=settings.model_name,
        url=endpoint_url(settings),
        key_file=instance.state_dir / "api-key",
        console=describe_console(settings, instance),
        etc=etc,
    )


def main() -> None:
    etc = Path(sys.argv[1])
    print(banner(read_settings(etc), Instance.of_user(), etc))


if __name__ == "__main__":
    run(main)
