"""Fields that forms of several pages have."""

from __future__ import annotations

from wtforms import FloatField


class NumberField(FloatField):
    """A number as people write it: 500, not 500.0."""

    def _value(self) -> str:
        return self.raw_data[0] if self.raw_data else "" if self.data is None else f"{self.data:g}"
