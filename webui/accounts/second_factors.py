"""The second factor: codes of six digits that a device computes (TOTP, RFC 6238), and codes for when it is lost."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

import pyotp
from pyotp.totp import TOTP
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from webui.accounts.sessions import digest
from webui.accounts.setup_token import ALPHABET
from webui.accounts.users import Refused
from webui.storage.database import Database
from webui.storage.schema import RecoveryCode, SecondFactor

RECOVERY_CODES = 10
GROUPS, LETTERS = 3, 5
"""Of a recovery code: 74 random bits, so that its SHA-256 may be kept as it is."""
TOLERATED_STEPS = 1
"""Periods of 30 s by which a device's clock may be wrong, either way."""
ISSUER = "Semi-PD"
WORD_HOLDS_SECONDS = 3600.0
"""For so long the command line's word waits for its log-in: one that was forgotten must not open a door next year."""


class Opener(StrEnum):
    """What a right code came from."""

    DEVICE = "a code of the device"
    RECOVERY = "a recovery code"


class SecondFactors:
    """`clock`: seconds since the epoch. `state_dir` is where the command line leaves word that a device is lost."""

    def __init__(self, database: Database, state_dir: Path, clock: Callable[[], float]):
        self._database = database
        self._lost = LostDevice(state_dir)
        self._clock = clock

    def is_on(self, user_id: int) -> bool:
        """Whether this user needs a code to log in."""
        with self._database.begin() as session:
            factor = session.get(SecondFactor, user_id)
            return factor is not None and factor.confirmed_at is not None

    def is_on_for_anybody(self) -> bool:
        with self._database.begin() as session:
            return session.scalar(select(func.count()).where(SecondFactor.confirmed_at.is_not(None))) != 0

    def propose(self, user_id: int) -> None:
        """A new secret that holds once it is confirmed. Raises `Refused` where one holds already."""
        with self._database.begin() as session:
            if (factor := session.get(SecondFactor, user_id)) is not None:
                if factor.confirmed_at is not None:
                    raise Refused("There is a second factor already: remove it first.")
                session.delete(factor)
                session.flush()
            session.add(SecondFactor(user_id=user_id, secret=pyotp.random_base32(), confirmed_at=None, last_step=0))

    def proposed(self, user_id: int) -> str | None:
        """The secret, in base 32, that waits for its first code."""
        with self._database.begin() as session:
            factor = session.get(SecondFactor, user_id)
            return None if factor is None or factor.confirmed_at is not None else factor.secret

    def confirm(self, user_id: int, code: str) -> list[str]:
        """From now on a code is asked for. Returns recovery codes, which nobody can show again. Raises `Refused`."""
        with self._database.begin() as session:
            factor = session.get(SecondFactor, user_id)
            if factor is None or factor.confirmed_at is not None:
                raise Refused("Nothing waits to be confirmed: begin again.")
            if not self._opens(factor, _bare(code)):
                raise Refused("This code is not right: see whether the clocks of this machine and the device agree.")
            factor.confirmed_at = self._clock()
            codes = [_new_code() for _ in range(RECOVERY_CODES)]
            session.add_all(RecoveryCode(code_sha256=digest(_bare(code)), user_id=user_id) for code in codes)
        self._lost.forget()  # what was said of the factor before is not said of this one
        return codes

    def opened_by(self, user_id: int, given: str) -> Opener | None:
        """What opens for a log-in's code, None if nothing does; each code opens once."""
        code = _bare(given)
        with self._database.begin() as session:
            factor = session.get(SecondFactor, user_id)
            if factor is None or factor.confirmed_at is None:
                return None
            if self._opens(factor, code):
                return Opener.DEVICE
            return Opener.RECOVERY if _recovers(session, user_id, code) else None

    def recovery_codes_left(self, user_id: int) -> int:
        query = select(func.count()).select_from(RecoveryCode).where(RecoveryCode.user_id == user_id)
        with self._database.begin() as session:
            return session.scalar(query) or 0

    def remove(self, user_id: int) -> None:
        """A password alone opens again."""
        with self._database.begin() as session:
            session.execute(delete(SecondFactor).where(SecondFactor.user_id == user_id))
            session.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user_id))

    def heed_the_command_line(self, user_id: int) -> bool:
        """True if somebody at the machine said that the device is lost: its factor is removed then."""
        if not self._lost.is_said:
            return False
        was_on = self.is_on(user_id)
        self.remove(user_id)
        self._lost.forget()
        return was_on

    def _opens(self, factor: SecondFactor, code: str) -> bool:
        totp = TOTP(factor.secret)
        now = int(self._clock()) // totp.interval
        for step in range(max(factor.last_step + 1, now - TOLERATED_STEPS), now + TOLERATED_STEPS + 1):
            if hmac.compare_digest(totp.at(step * totp.interval).encode(), code.encode()):
                factor.last_step = step
                return True
        return False


class LostDevice:
    """Word from the command line: a file, since only the console writes `console.db`."""

    def __init__(self, state_dir: Path):
        self._path = state_dir / "device-lost"

    def say(self) -> None:
        """Again where it was said before: its hour begins anew."""
        self._path.touch(mode=0o600)

    def forget(self) -> None:
        self._path.unlink(missing_ok=True)

    @property
    def is_said(self) -> bool:
        """Lately; by the wall clock, as the file's date is."""
        try:
            return time.time() - self._path.stat().st_mtime < WORD_HOLDS_SECONDS
        except FileNotFoundError:
            return False


def uri(secret: str, name: str, host: str) -> str:
    """What a device reads from the picture."""
    return TOTP(secret).provisioning_uri(name=f"{name}@{host}", issuer_name=ISSUER)


def _recovers(session: Session, user_id: int, code: str) -> bool:
    found = session.get(RecoveryCode, digest(code))
    if found is None or found.user_id != user_id:
        return False
    session.delete(found)
    return True


def _bare(code: str) -> str:
    """As people type it: with or without the blanks and hyphens, in any case."""
    return "".join(code.replace("-", " ").split()).lower()


def _new_code() -> str:
    groups = ("".join(secrets.choice(ALPHABET) for _ in range(LETTERS)) for _ in range(GROUPS))
    return "-".join(groups)
