"""`python -m appliance.machine.credentials ETC`: a line for each secret that systemd hands to those who need it.

Its name and its file. systemd reads it as root at each start of a service, so that nobody else needs to be able to.
"""

from __future__ import annotations

import sys
from pathlib import Path

from appliance.machine.settings import given_settings
from engine.config import TLS_KEY_CREDENTIAL
from engine.process import run


def credentials(etc: Path) -> dict[str, str]:
    """Name to path. As given, not resolved: a certificate that is renewed may be a link to another file by then."""
    given = given_settings(etc)
    return {TLS_KEY_CREDENTIAL: given["tls_key"]} if given.get("tls_key") else {}


def main() -> None:
    for name, path in credentials(Path(sys.argv[1])).items():
        print(name, path)


if __name__ == "__main__":
    run(main)
