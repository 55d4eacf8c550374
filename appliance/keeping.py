"""What a controller does with the store around its own life, whoever starts its processes."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from appliance.instance import Instance
from appliance.person import person
from appliance.store.store import Store
from engine.config import PortArgs, ServerArgs


class Kept(NamedTuple):
    """`settings` have the targets that were set last in them, and `sentence` says so. `api_key` is the first start's,
    None once it has been revoked."""

    store: Store
    settings: ServerArgs
    sentence: str
    api_key: str | None


@contextmanager
def keeping(instance: Instance, settings: ServerArgs, ports: PortArgs, given: Collection[str] = ()) -> Iterator[Kept]:
    """The store, started, and the gateways' keys published; stopped at the end. The instance has been claimed.

    `given`: settings that were asked for at this very start, and win. Raises `CannotStart` where a newer release wrote
    the database.
    """
    store = Store(instance.state_dir, ports)
    try:
        store.start()
        settled, sentence = store.settle(settings, given, person())
        key = instance.api_key()
        is_valid = store.keys.adopt(key, person())
        yield Kept(store, settled, sentence, key if is_valid else None)
    finally:
        store.stop()
