"""What the kernel says this process has mapped."""

from __future__ import annotations

from pathlib import Path


def inodes() -> dict[str, int]:
    """The inode behind each of the appliance's memory files that is mapped here, by the file's name."""
    found = {}
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[5].startswith("/memfd:semi-pd-"):
            found[fields[5].split()[0].removeprefix("/memfd:")] = int(fields[4])
    return found
