"""What programs may send, checked."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from webui.changes import KeyWish, PolicyChange


class Body(BaseModel):
    """Unknown fields are refused: a misspelt one would be a change that is not made."""

    model_config = ConfigDict(extra="forbid")


class PolicyBody(Body):
    """New targets and what the policy goes by; what is left out stays."""

    ttft_ms: float | None = Field(None, ge=1, le=600_000)
    tpot_ms: float | None = Field(None, ge=0.1, le=60_000)
    window_seconds: float | None = Field(None, ge=1, le=3600)
    cooldown_seconds: float | None = Field(None, ge=0, le=86_400)
    min_confidence: float | None = Field(None, ge=0, le=1)
    mode: Literal["auto", "hold", "manual"] | None = None
    reason: str = Field("", max_length=200)

    @model_validator(mode="after")
    def _says_something(self) -> PolicyBody:
        if self.mode is None and not any(value is not None for value in self.change):
            raise ValueError("there is nothing in it to change")
        return self

    @property
    def change(self) -> PolicyChange:
        return PolicyChange(**{name: getattr(self, name) for name in PolicyChange._fields})


class RotationBody(Body):
    """Shares of the SMs in percent. The answer comes when the split is live or was given up."""

    prefill: int = Field(ge=1, le=100)
    decode: int = Field(ge=1, le=100)
    new_group: bool = False
    reason: str = Field("", max_length=200)


class KeyBody(Body):
    """A new API key; without `days` it does not expire.

    `code`: of the second factor, which a browser's session needs for the scope admin where its user has one.
    """

    name: str = Field(min_length=1, max_length=64)
    scopes: list[Literal["inference", "admin"]] = Field(["inference"], min_length=1)
    days: int | None = Field(None, ge=1, le=3650)
    requests_per_minute: int | None = Field(None, ge=1, le=1_000_000)
    code: str = Field("", max_length=32)

    @property
    def wish(self) -> KeyWish:
        return KeyWish(self.name, tuple(self.scopes), self.days, self.requests_per_minute)
