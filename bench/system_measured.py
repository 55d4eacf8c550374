"""What is measured when nothing else is said: this user's running appliance, its address, its key and its split."""

from __future__ import annotations

import json

from appliance.control.client import NotRunning, ask
from appliance.control.messages import AskStatus
from appliance.instance import Instance

DEFAULT_URL = "http://127.0.0.1:8000"


def running_url(instance: Instance) -> str:
    running = instance.running()
    return running.url if running else DEFAULT_URL


def key_for(instance: Instance, url: str) -> str:
    """The appliance's own key for its own address; none for others."""
    running = instance.running()
    return instance.api_key() if running and are_same(running.url, url) else ""


def split_in_force(instance: Instance, url: str) -> str:
    """Such as `80/20 by green`; empty where another endpoint is measured or nobody answers."""
    running = instance.running()
    if running is None or not are_same(running.url, url):
        return ""
    try:
        status = json.loads(ask(instance, AskStatus()).data)
    except NotRunning:
        return ""
    split = status["split_in_force"]
    return f"{split} by {status['splitter']}" if split else ""


def are_same(one: str, other: str) -> bool:
    """True for two ways to write one address."""
    return _bare(one) == _bare(other)


def _bare(url: str) -> str:
    return url.rstrip("/").removesuffix("/v1").rstrip("/")
