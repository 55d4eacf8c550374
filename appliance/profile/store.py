"""Where profiles are kept between starts, and whether the one there is still holds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import msgspec

from appliance.instance import Instance
from engine.profile.key import ProfileKey
from engine.profile.record import MachineProfile


class Kept(NamedTuple):
    """A profile that holds, or none and in a sentence why the one that was kept does not."""

    profile: MachineProfile | None = None
    stale: str = ""


class ProfileStore:
    """One JSON file a device, model shape, element type and splitter."""

    def __init__(self, directory: Path):
        self._directory = directory

    @classmethod
    def of_user(cls) -> ProfileStore:
        """The one of the user who runs this process."""
        return cls(Instance.of_user().state_dir / "profiles")

    def path(self, key: ProfileKey) -> Path:
        return self._directory / key.file_name

    def find(self, key: ProfileKey) -> Kept:
        """What was measured on the same device with the same software, if it was."""
        path = self.path(key)
        try:
            kept = msgspec.json.decode(path.read_bytes(), type=MachineProfile)
        except FileNotFoundError:
            return Kept()
        except (OSError, msgspec.MsgspecError) as error:
            return Kept(stale=f"The profile {path} cannot be read ({error}): `semi-pd profile --remake` replaces it.")
        if changes := key.changes_since(kept.key):
            return Kept(
                stale=f"The profile of {kept.measured_at[:10]} does not hold any more: {changes}; "
                "`semi-pd profile` makes a new one."
            )
        return Kept(kept)

    def keep(self, profile: MachineProfile) -> Path:
        """In the place of the one before, all of it or nothing."""
        path = self.path(profile.key)
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}.new")
        try:
            with draft.open("wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(profile), indent=1) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        return path
