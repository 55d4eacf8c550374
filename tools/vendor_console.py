"""Fetches what the console's pages use from npm into webui/static/vendor, with a manifest of what came from where.

`python tools/vendor_console.py` needs npm; the result is part of the source, so that nobody else does.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

VENDOR = Path(__file__).parent.parent / "webui" / "static" / "vendor"

ICONS = [
    "activity",
    "alert-triangle",
    "arrow-back-up",
    "arrows-exchange",
    "book",
    "check",
    "chevron-down",
    "chevron-right",
    "circle-check",
    "circle-x",
    "clock",
    "copy",
    "cpu",
    "dashboard",
    "database",
    "device-floppy",
    "download",
    "eye",
    "file-text",
    "gauge",
    "heart-rate-monitor",
    "history",
    "info-circle",
    "key",
    "lifebuoy",
    "list-details",
    "lock",
    "login",
    "logout",
    "menu-2",
    "message-circle",
    "moon",
    "player-pause",
    "player-play",
    "player-stop",
    "plus",
    "refresh",
    "report-analytics",
    "rotate-clockwise",
    "search",
    "send",
    "server",
    "settings",
    "shield-lock",
    "sun",
    "target",
    "terminal-2",
    "trash",
    "upload",
    "user",
    "users",
    "x",
    "adjustments-horizontal",
    "bolt",
    "stethoscope",
]


class Package(NamedTuple):
    """One npm package and the files taken of it."""

    name: str
    version: str
    files: tuple[str, ...]


PACKAGES = (
    Package("htmx.org", "2.0.11", ("dist/htmx.min.js", "LICENSE")),
    Package("uplot", "1.6.32", ("dist/uPlot.iife.min.js", "dist/uPlot.min.css", "LICENSE")),
    Package("@tabler/core", "1.6.1", ("dist/css/tabler.min.css",)),
    Package("@tabler/icons", "3.51.0", (*(f"icons/outline/{name}.svg" for name in ICONS), "LICENSE")),
    Package("@fontsource-variable/inter", "5.3.0", ("files/inter-latin-wght-normal.woff2", "LICENSE")),
    Package(
        "@fontsource-variable/jetbrains-mono", "5.3.0", ("files/jetbrains-mono-latin-wght-normal.woff2", "LICENSE")
    ),
)


def main() -> None:
    shutil.rmtree(VENDOR, ignore_errors=True)
    manifest = [vendored(package) for package in PACKAGES]
    (VENDOR / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


def vendored(package: Package) -> dict:
    """Fetch one package, keep its files, and describe them."""
    folder = VENDOR / package.name.removeprefix("@").replace("/", "-")
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        archive = fetched(package, Path(scratch))
        with tarfile.open(archive) as content:
            for name in package.files:
                member = content.extractfile(f"package/{name}")
                assert member is not None, f"{package.name} has no {name}"
                (folder / Path(name).name).write_bytes(without_source_map(member.read()))
            about = content.extractfile("package/package.json")
            assert about is not None
            licence = json.load(about)["license"]
    return {
        "package": package.name,
        "version": package.version,
        "license": licence,
        "folder": folder.name,
        "sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())},
    }


def fetched(package: Package, folder: Path) -> Path:
    command = ["npm", "pack", "--silent", f"{package.name}@{package.version}"]
    name = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()
    return folder / name


def without_source_map(content: bytes) -> bytes:
    """The maps are not kept, and a browser's tools would ask for them."""
    lines = content.split(b"\n")
    return b"\n".join(line for line in lines if b"sourceMappingURL=" not in line[:40])


main()
