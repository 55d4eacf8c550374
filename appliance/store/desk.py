"""What can be done with keys, by the controller that runs or while none does."""

from __future__ import annotations

import json
import time

from appliance.control.messages import AddKey, Reply, RevokeKey
from appliance.instance import Instance
from appliance.store import keys
from appliance.store.keys import NewKey
from appliance.store.offline import change_offline
from appliance.store.store import Store


def change_key(store: Store | None, command: AddKey | RevokeKey) -> Reply:
    """Raises `KeyRefused` or `StoreUnavailable`; then nothing has changed."""
    if store is None:
        return Reply(False, "This appliance keeps no database, and so no keys.")
    match command:
        case AddKey():
            return _added(command.name, store.keys.add(_wanted(command)))
        case RevokeKey(name, by):
            store.keys.revoke(name, by)
            return _revoked(name)


def change_key_offline(instance: Instance, command: AddKey | RevokeKey) -> Reply:
    """Raises `CannotStart` where a controller runs, and as `change_key`."""
    now = time.time()
    match command:
        case AddKey():
            secret = keys.new_secret()
            change_offline(instance, lambda c: keys.add(c, _wanted(command), keys.digest(secret), now))
            return _added(command.name, secret)
        case RevokeKey(name, by):
            change_offline(instance, lambda connection: keys.revoke(connection, name, by, now))
            return _revoked(name)


def _wanted(command: AddKey) -> NewKey:
    return NewKey(command.name, command.by, command.scopes, command.expires_at, command.requests_per_minute)


def _added(name: str, secret: str) -> Reply:
    return Reply(True, f"The key {name} was made; it is shown only now:", json.dumps({"key": secret}))


def _revoked(name: str) -> Reply:
    return Reply(True, f"The key {name} was revoked: no request with it is taken any more.")
