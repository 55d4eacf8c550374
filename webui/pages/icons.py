"""Tabler's icons, written into the page so that they take the text's colour."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from markupsafe import Markup

ICONS = Path(__file__).parent.parent / "static" / "vendor" / "tabler-icons"


@cache
def icon(name: str) -> Markup:
    """The SVG of one vendored icon, hidden from screen readers: beside it stands a text or a label."""
    svg = (ICONS / f"{name}.svg").read_text()
    return Markup(svg[svg.index("<svg") :].replace("<svg", '<svg aria-hidden="true" focusable="false"', 1))
