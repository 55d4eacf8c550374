"""What the leader of a slot receives from the controller; it answers with messages of `to_controller`."""

from __future__ import annotations

from engine.allocation import SMAllocation
from engine.wire.codec import Codec, Message


class FormGroup(Message, frozen=True):
    """Start a group at a split from the spare workers. Answered by `GroupStarted`, later `GroupGone`.

    `colocated` asks for one worker that does both phases. `prepare`: splits that its workers may have to take in place.
    """

    epoch: int
    prefill_percentage: int
    decode_percentage: int
    colocated: bool = False
    prepare: tuple[SMAllocation, ...] = ()


class KeepSpares(Message, frozen=True):
    """Keep `count` workers imported and waiting, started at low priority."""

    count: int


class KillGroup(Message, frozen=True):
    """End the group's processes now (after a failed start or drain)."""

    epoch: int


class AskGroups(Message, frozen=True):
    """Answered by `Groups`; from then on the asker is told what happens."""


TO_LEADER: Codec[FormGroup | KeepSpares | KillGroup | AskGroups] = Codec(FormGroup | KeepSpares | KillGroup | AskGroups)
