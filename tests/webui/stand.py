"""A console before a real controller and a real store, of an appliance whose engine only says to be one."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, cast

from argon2 import PasswordHasher
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from appliance.coordinator import SemiPDCoordinator
from appliance.instance import Instance, Running
from appliance.rotation import ProcessRotationManager
from appliance.slo import Mode, SLOAwareResourceManager, SLOTarget
from appliance.store.store import Store
from engine.config import PortArgs, ServerArgs
from tests.webui.engine import StandInEngine
from tests.webui.past import remember
from webui.app import create_app
from webui.config import ConsoleConfig
from webui.services import NAME, Services

ORIGIN = "http://localhost"
OWNER, PASSWORD = "ada", "four words that do not belong"


class Stand:
    """`directory` has a path short enough for sockets."""

    def __init__(self, directory: Path, **settings: Any):
        self.instance = Instance(directory / "semi-pd")
        self.instance.log_dir.mkdir(parents=True)
        runtime = directory / "run"
        runtime.mkdir()
        self.ports = PortArgs(runtime)
        self.settings = ServerArgs(device="cpu", **settings).for_device("cpu")
        self.ports.write_settings(self.settings)
        self.store = Store(self.instance.state_dir, self.ports)
        self.engine = StandInEngine(self.settings, self.store.journal.rotation)

    def __enter__(self) -> Self:
        self.store.start()
        self.store.settle(self.settings, (), "test")
        engine = cast(ProcessRotationManager, self.engine)
        policy = SLOAwareResourceManager(SLOTarget(500.0, 50.0), engine, mode=Mode.MANUAL)
        self.coordinator = SemiPDCoordinator(engine, policy, self.ports, self.store)
        self.coordinator.start()
        self.instance.announce(Running(os.getpid(), str(self.ports.runtime_dir), "http://127.0.0.1:8000"))
        config = ConsoleConfig.of_appliance(self.ports, self.instance)
        self.app = create_app(replace(config, hasher=PasswordHasher(time_cost=1, memory_cost=64)))
        self.services: Services = self.app.extensions[NAME]
        return self

    def __exit__(self, *_: object) -> None:
        self.services.close()
        self.coordinator.stop()
        self.store.stop()

    def browser(self) -> Browser:
        """Somebody's, who is not logged in."""
        return Browser(self.app.test_client())

    def owner(self) -> Browser:
        """The browser of the one who has claimed the console."""
        token = self.services.setup_token.renew()
        browser = self.browser()
        claimed = browser.post("/first-run", token=token, name=OWNER, password=PASSWORD, again=PASSWORD)
        assert claimed.status_code == 303, claimed.text
        return browser

    def remember(self, seconds: int) -> None:
        """Give the store a past."""
        self.store._writer.change(lambda connection: remember(connection, seconds))

    @property
    def audit(self) -> list[tuple[str, str, bool]]:
        """(who, what, whether it was done), the latest first."""
        return [(entry.who, entry.action, entry.was_done) for entry in self.services.audit.find().entries]


class Browser:
    """What a browser does: keeps cookies, sends its origin, and a page's token with a form."""

    def __init__(self, client: FlaskClient):
        self.client = client

    def get(self, path: str, **headers: str) -> TestResponse:
        return self.client.get(path, base_url=ORIGIN, headers=headers)

    def post(self, path: str, **fields: Any) -> TestResponse:
        """Submit a form that a page of this console shows."""
        form = {"csrf_token": self.csrf_token, **fields}
        return self.client.post(path, base_url=ORIGIN, data=form, headers={"Origin": ORIGIN})

    @property
    def csrf_token(self) -> str:
        """That of any page that is shown now."""
        shown = self.client.get("/account/", base_url=ORIGIN, follow_redirects=True).text
        found = re.search(r'name="csrf-token" content="([^"]+)"', shown)
        assert found, shown
        return found[1]
