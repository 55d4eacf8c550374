"""What the leader of a slot receives from the controller; it answers with messages of `to_controller`."""

from __future__ import annotations

from engine.wire.codec import Codec, Message


class FormGroup(Message, frozen=True):
    """Start a group at a split from the spare workers. Answered by `GroupStarted`, later `GroupGone`.

    `colocated` asks for one worker that does both phases.
    """

    epoch: int
    prefill_percentage: int
    decode_percentage: int
    colocated: bool = False


class KeepSpares(Message, frozen=True):
    """Keep `count` workers imported and waiting, started at low priority."""

    count: int


class KillGroup(Message, frozen=True):
    """End the group's processes now (after a failed start or drain)."""

    epoch: int


TO_LEADER: Codec[FormGroup | KeepSpares | KillGroup] = Codec(FormGroup | KeepSpares | KillGroup)
