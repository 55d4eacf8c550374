"""What the controller can be asked, and how it answers."""

from __future__ import annotations

from engine.wire.codec import Codec, Message


class AskStatus(Message, frozen=True):
    """Everything there is to know now."""


class AskRotation(Message, frozen=True):
    """Move to a split, replacing the processes even if it is in force where `new_group` says so."""

    prefill_percentage: int
    decode_percentage: int
    new_group: bool = False
    reason: str = ""


class AskRecentLoad(Message, frozen=True):
    """What a simulation of the last minutes' load goes by: as `appliance.simulator.foretelling.Task`, but targets."""


class AskRotations(Message, frozen=True):
    """The latest rotations, oldest first, each with what became of it."""

    limit: int = 100


class AskDecisions(Message, frozen=True):
    """The policy's latest decisions, each with its sentence and what came of it."""

    limit: int = 100


class SetTarget(Message, frozen=True):
    """New SLO targets, in milliseconds; for the 95th percentile of both. None: as it was.

    `by` and `reason` are kept.
    """

    ttft_ms: float | None = None
    tpot_ms: float | None = None
    window_seconds: float | None = None
    cooldown_seconds: float | None = None
    min_confidence: float | None = None
    by: str = ""
    reason: str = ""


class SetMode(Message, frozen=True):
    """`auto`: the policy moves the split; `hold`: it only says what it would do; `manual`: it keeps quiet."""

    mode: str
    by: str = ""
    reason: str = ""


class AddKey(Message, frozen=True):
    """Make an API key; `data` of the answer is `{"key": …}`, and it is told only there. See `appliance.store.keys`."""

    name: str
    by: str
    scopes: tuple[str, ...] = ("inference",)
    expires_at: float | None = None
    requests_per_minute: int | None = None


class RevokeKey(Message, frozen=True):
    """From the next request on it is not known any more."""

    name: str
    by: str


class RestoreBackup(Message, frozen=True):
    """Put one of the backups beside the database in its place, at once; `name` is that of the file."""

    name: str
    by: str = ""


class FreeCachedPages(Message, frozen=True):
    """Free the KV pages that no request holds and that are kept for prompts that begin alike."""


class AskGpuMemory(Message, frozen=True):
    """Bytes of the GPU's memory that each process has, by its id; what the driver does not tell is left out."""


class AskUnits(Message, frozen=True):
    """The machine's services as systemd sees them, each an `UnitState`; refused where it started nothing."""


class RestartUnit(Message, frozen=True):
    """Restart one of the appliance's services, and answer when it is ready again. Of the controller itself: at once."""

    name: str
    by: str = ""


class Reply(Message, frozen=True):
    """`sentence` says what was done or why not; `data` is JSON."""

    done: bool
    sentence: str
    data: str = "{}"


Command = (
    AskStatus
    | AskRotation
    | AskRotations
    | AskRecentLoad
    | AskDecisions
    | SetTarget
    | SetMode
    | AddKey
    | RevokeKey
    | RestoreBackup
    | FreeCachedPages
    | AskGpuMemory
    | AskUnits
    | RestartUnit
)

TO_CONTROLLER: Codec[Command] = Codec(Command)
FROM_CONTROLLER: Codec[Reply] = Codec(Reply)
