"""How values are written on pages: times, sizes, durations."""

from __future__ import annotations

import re
import time

from markupsafe import Markup, escape

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def moment(seconds: float | None) -> str:
    """A time since the epoch, in this machine's zone."""
    return "never" if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def ago(seconds: float | None) -> str:
    """How long before now a time since the epoch was."""
    return "never" if seconds is None else f"{duration(max(0.0, time.time() - seconds))} ago"


def duration(seconds: float) -> str:
    """The two largest units: 3 d 4 h, 2 min 10 s, 0.4 s."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    parts = ((days, "d"), (hours, "h"), (minutes, "min"), (whole % 60, "s"))
    first = next(index for index, (count, _) in enumerate(parts) if count)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count)


def commands(sentence: str) -> Markup:
    """A sentence for terminals, which has commands in backticks, for a page."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(sentence))))


BROWSERS = (
    ("Edg", "Edge"),
    ("OPR", "Opera"),
    ("Firefox", "Firefox"),
    ("HeadlessChrome", "Chrome"),
    ("Chrome", "Chrome"),
)
SYSTEMS = ("Android", "iPhone", "iPad", "Windows", "Mac OS X", "CrOS", "Linux")


def browser(agent: str) -> str:
    """What a browser calls itself, shortened: Firefox 140 on Linux. What is none stays as it is."""
    found = ((name, re.search(rf"\b{word}/(\d+)", agent)) for word, name in BROWSERS)
    known = next((f"{name} {version[1]}" for name, version in found if version), None)
    if known is None and (version := re.search(r"\bVersion/(\d+).*\bSafari/", agent)):
        known = f"Safari {version[1]}"
    system = next((system for system in SYSTEMS if system in agent), None)
    return f"{known} on {system}" if known and system else known or agent[:60] or "unknown"


def size(count: float | None) -> str:
    """Bytes with a binary unit."""
    if count is None:
        return "–"
    value, unit = float(count), UNITS[0]
    for unit in UNITS:
        if value < 1024 or unit == UNITS[-1]:
            break
        value /= 1024
    return f"{value:.0f} {unit}" if value >= 100 or unit == "B" else f"{value:.1f} {unit}"
