"""How browsers are named, and commands set apart."""

from __future__ import annotations

import pytest

from webui.pages.words import browser, commands

CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
SAFARI = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6"


@pytest.mark.parametrize(
    ("agent", "named"),
    [
        (CHROME, "Chrome 140 on Linux"),
        (f"{CHROME} Edg/140.0.0.0", "Edge 140 on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:142.0) Gecko/20100101 Firefox/142.0", "Firefox 142 on Windows"),
        (f"{SAFARI} Mobile/15E148 Safari/604.1", "Safari 18 on iPhone"),
        ("curl/8.14.1", "curl/8.14.1"),
        ("", "unknown"),
    ],
)
def test_a_browser_is_named_as_people_name_it(agent: str, named: str) -> None:
    assert browser(agent) == named


def test_commands_are_set_apart_and_nothing_else_becomes_markup() -> None:
    assert commands("`semi-pd keys list` shows <b>` & more") == (
        "<code>semi-pd keys list</code> shows &lt;b&gt;` &amp; more"
    )
