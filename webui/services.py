"""What the views work with: made once for an app, and found through it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from flask import current_app

from webui.accounts.audit import AuditLog
from webui.accounts.back_off import BackOff
from webui.accounts.passwords import Passwords
from webui.accounts.second_factors import SecondFactors
from webui.accounts.sessions import Sessions
from webui.accounts.setup_token import SetupToken
from webui.accounts.users import Users
from webui.changes import Changes
from webui.config import ConsoleConfig
from webui.controller import Controller
from webui.feed import Feed
from webui.logs.source import LogSource, logs_of_appliance
from webui.look import Look
from webui.playground_key import PlaygroundKey
from webui.processes import ProcessTable
from webui.storage.database import Database

NAME = "semi-pd"


@dataclass(frozen=True)
class Services:
    """Collaborators of the views."""

    config: ConsoleConfig
    database: Database
    users: Users
    sessions: Sessions
    second_factors: SecondFactors
    audit: AuditLog
    setup_token: SetupToken
    back_off: BackOff
    controller: Controller
    changes: Changes
    look: Look
    feed: Feed
    logs: LogSource
    processes: ProcessTable
    playground_key: PlaygroundKey

    @classmethod
    def of(cls, config: ConsoleConfig) -> Services:
        database = Database(config.database)
        audit = AuditLog(database)
        controller = Controller(config.instance)
        look, changes = Look(config, controller, audit), Changes(controller, audit)
        return cls(
            config=config,
            database=database,
            users=Users(database, Passwords(config.hasher)),
            sessions=Sessions(database),
            second_factors=SecondFactors(database, config.state_dir, time.time),
            audit=audit,
            setup_token=SetupToken(config.state_dir),
            back_off=BackOff(time.monotonic),
            controller=controller,
            changes=changes,
            look=look,
            feed=Feed(look),
            logs=logs_of_appliance(config.instance.log_dir),
            processes=ProcessTable(config.instance, controller),
            playground_key=PlaygroundKey(config, changes),
        )

    def close(self) -> None:
        self.feed.close()
        self.database.close()


def services() -> Services:
    """Those of the app that answers."""
    return current_app.extensions[NAME]
