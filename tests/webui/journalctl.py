"""Stands in for journalctl(1), as systemd 252 was seen to behave: entries of a file as JSON, and what a pipe adds."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(sys.argv[0]).parent
ALWAYS = ("__CURSOR", "__REALTIME_TIMESTAMP", "__MONOTONIC_TIMESTAMP", "_BOOT_ID")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for flag in ("quiet", "no-pager", "all", "reverse", "follow", "merge", "no-tail"):
        parser.add_argument(f"--{flag}", action="store_true")
    parser.add_argument("--output", choices=["json"], required=True)
    parser.add_argument("--output-fields", type=lambda value: value.split(","))
    parser.add_argument("--since", type=lambda value: float(value.removeprefix("@")), default=0.0)
    parser.add_argument("--unit", action="append", required=True)
    return parser.parse_args()


def shown(entry: dict[str, Any], asked: argparse.Namespace) -> str:
    fields = {name: value for name, value in entry.items() if name in (*ALWAYS, *asked.output_fields)}
    return json.dumps(fields, separators=(",", ":"))


def is_asked_for(entry: dict[str, Any], asked: argparse.Namespace) -> bool:
    """A unit's own entries, and those of systemd about it."""
    unit = entry.get("UNIT") if entry.get("_SYSTEMD_UNIT") == "init.scope" else entry["_SYSTEMD_UNIT"]
    return unit in asked.unit and int(entry["__REALTIME_TIMESTAMP"]) / 1e6 >= asked.since


def main() -> None:
    if (HERE / "denied").exists():
        sys.exit("No journal files were opened due to insufficient permissions.")
    asked = arguments()
    assert asked.no_tail or not asked.follow, "the real one begins with the latest ten"
    lines = (HERE / "entries").read_text().splitlines()
    for entry in map(json.loads, reversed(lines) if asked.reverse else lines):
        if is_asked_for(entry, asked):
            print(shown(entry, asked), flush=True)
    if asked.follow:
        with (HERE / "added").open() as added:
            for entry in map(json.loads, added):
                if is_asked_for(entry, asked):
                    print(shown(entry, asked), flush=True)
        sys.exit("The journal went away.")


if __name__ == "__main__":
    main()
