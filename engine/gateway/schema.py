"""How a request body is read: strict fields with bounds. Fields that are not named in a schema are ignored."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from engine.errors import InvalidRequest

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


class Fields(BaseModel):
    """Strict: "5" is no number and 1 no truth value. A null is a field that was not given."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        return {name: value for name, value in fields.items() if value is not None}


F = TypeVar("F", bound=Fields)


def parse(schema: type[F], body: bytes) -> F:
    """The request in `body`. Raises `InvalidRequest` with a sentence that names the field."""
    try:
        return schema.model_validate(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The request body is not JSON: {error}.") from error
    except ValidationError as error:
        raise _invalid(error) from error


def _invalid(error: ValidationError) -> InvalidRequest:
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    reason = first["msg"].removeprefix("Value error, ")
    if not field:
        return InvalidRequest("The request body must be a JSON object.")
    return InvalidRequest(f"The field {field} is not valid: {reason[:1].lower()}{reason[1:]}.", param=field)
