"""Changes to the database while no controller runs: whoever holds the instance's lock is the one writer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection

from appliance.instance import Instance
from appliance.store.database import open_database
from appliance.store.reading import FILE
from appliance.store.trouble import StoreUnavailable, trouble

T = TypeVar("T")


def change_offline(instance: Instance, act: Callable[[Connection], T]) -> T:
    """Raises `CannotStart` where a controller runs, `StoreUnavailable`, or what `act` raises."""
    instance.claim()
    try:
        engine, _ = open_database(instance.state_dir / FILE)
        try:
            with engine.begin() as connection:
                return act(connection)
        finally:
            engine.dispose()
    except Exception as error:
        if why := trouble(error):
            raise StoreUnavailable(f"Nothing was changed. The database cannot be written: {why}.") from error
        raise
    finally:
        instance.release()
