"""What every page is made with: navigation, icons, and how values are written."""

from __future__ import annotations

from typing import NamedTuple

from flask import Flask, url_for

from webui.pages import words
from webui.pages.icons import icon
from webui.services import services
from webui.versions import version_of


class Entry(NamedTuple):
    """One line of the navigation."""

    endpoint: str
    title: str
    icon: str


NAVIGATION = (
    Entry("overview.page", "Overview", "dashboard"),
    Entry("slo.page", "SLO", "target"),
    Entry("split.page", "Split", "arrows-exchange"),
    Entry("playground.page", "Playground", "message-circle"),
    Entry("processes.page", "Processes", "cpu"),
    Entry("logs.page", "Logs", "terminal-2"),
    Entry("keys.page", "Keys", "key"),
    Entry("health.page", "Health", "stethoscope"),
    Entry("audit.page", "Audit", "list-details"),
)


def prepare(app: Flask) -> None:
    """Give the templates what they use."""
    app.jinja_env.globals |= {"icon": icon, "navigation": NAVIGATION, "version": version_of("semi-pd")}
    app.jinja_env.globals |= {"vendored": lambda name: url_for("static", filename=f"vendor/{name}")}
    app.jinja_env.filters |= {
        "moment": words.moment,
        "ago": words.ago,
        "duration": words.duration,
        "size": words.size,
        "browser": words.browser,
        "commands": words.commands,
    }
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True

    @app.context_processor
    def _of_this_appliance() -> dict[str, str]:
        return {"model_name": services().config.settings.model_name}
