"""A machine as the simulator knows it: step times, speeds at each split, memory and limits. Plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from appliance.simulator.step_times import StepTimes
from appliance.slo.profile import Profile
from appliance.slo.target import SLOTarget
from engine.scheduler.limits import Limits


@dataclass(frozen=True, slots=True)
class Box:
    """`pages` of `page_size` tokens are the KV pool. `change_seconds` pass from the order to change the split until the
    new group serves, none where the split is taken in place. `launch_seconds` before a decode step's end the next is
    made up: who joins later waits for the one after it. The other limits are those of the settings of the same name."""

    times: StepTimes
    profile: Profile = field(default_factory=Profile.duty)
    pages: int = 8192
    page_size: int = 16
    max_model_len: int = 4096
    max_running_requests: int = 64
    max_queued_requests: int = 1024
    max_queue_seconds: float | None = None
    prefill_token_budget: int = 256
    prefill_depth: int = 2
    ttft_target_ms: float = 0.0
    tpot_target_ms: float = 0.0
    change_seconds: float = 3.0
    launch_seconds: float = 0.0
    borrowing: bool = True
    in_place: bool = True

    @property
    def limits(self) -> Limits:
        return Limits(
            max_model_len=self.max_model_len,
            max_running_requests=self.max_running_requests,
            max_queued_requests=self.max_queued_requests,
            max_queue_seconds=self.max_queue_seconds,
            prefill_token_budget=self.prefill_token_budget,
            prefill_depth=self.prefill_depth,
            ttft_target_seconds=self.ttft_target_ms / 1000,
            tpot_target_seconds=self.tpot_target_ms / 1000,
            grant_ahead_tokens=self.page_size,
        )

    def aimed(self, target: SLOTarget) -> Self:
        """The same, told that target."""
        return replace(self, ttft_target_ms=target.ttft_target_ms, tpot_target_ms=target.tpot_target_ms)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Fields by name, `times` and `profile` as objects of their own; what is absent has its default.

        Raises `ValueError` with one sentence.
        """
        try:
            return cls.of(json.loads(path.read_text("utf-8")))
        except (TypeError, KeyError) as error:
            raise ValueError(f"{path} describes no box: {error}.") from error

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """What `as_dict` gave."""
        parts: dict[str, Any] = {"times": StepTimes(**content["times"])}
        if "profile" in content:
            parts["profile"] = Profile.of(content["profile"])
        return cls(**(dict(content) | parts))

    def as_dict(self) -> dict[str, Any]:
        plain = {part.name: getattr(self, part.name) for part in fields(self)}
        return plain | {"times": asdict(self.times), "profile": self.profile.as_dict()}

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(self.as_dict(), indent=2) + "\n", "utf-8")
