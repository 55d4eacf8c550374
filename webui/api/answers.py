"""What the admin API answers, as JSON schemas."""

from __future__ import annotations

from typing import Any, get_type_hints

from webui.history import SERIES
from webui.logs.line import LogLine
from webui.processes import ProcessRow
from webui.slo.report import Compliance

Schema = dict[str, Any]

TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}


def thing(description: str = "", /, **properties: Schema) -> Schema:
    """An object that has all of these, and may have more."""
    said = {"description": description} if description else {}
    return {"type": "object", "required": list(properties), "properties": properties} | said


def many(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def fields_of(kind: type) -> Schema:
    """Of a tuple with names, by its annotations; what is none of JSON's plain kinds may be anything."""
    hints = get_type_hints(kind)
    return thing(**{name: {"type": TYPES[hint]} if hint in TYPES else {} for name, hint in hints.items()})


TEXT, NUMBER, INTEGER, TRUTH = ({"type": name} for name in ("string", "number", "integer", "boolean"))
MAYBE_NUMBER, MAYBE_TEXT = ({"type": [name, "null"]} for name in ("number", "string"))
MAYBE_TRUTH = {"type": ["boolean", "null"]}

DONE = thing("What was done, for a person.", sentence=TEXT)
PREDICTED = thing(split=TEXT, ttft_ms=NUMBER, tpot_ms=NUMBER, is_kept=TRUTH)
STATUS = thing(
    "As `semi-pd status --json` has it.",
    split_in_force=MAYBE_TEXT,
    splitter=TEXT,
    rotating=TRUTH,
    groups=many(thing(epoch=INTEGER, slot=TEXT, split=TEXT, stage=TEXT)),
    slo=thing(mode=TEXT, target=thing(ttft_target_ms=NUMBER, tpot_target_ms=NUMBER)),
    rotations=many({"type": "object"}),
)
METRICS = thing(
    "Columns of equal length; what was not known at a time is null.",
    since=NUMBER,
    until=NUMBER,
    step_seconds=INTEGER,
    series=thing(**{name: {"type": "array"} for name in SERIES}),
    marks=many(thing(at=NUMBER, kind=TEXT, sentence=TEXT)),
    problem=TEXT,
)
TARGET = thing(set_at=NUMBER, set_by=TEXT, reason=TEXT, ttft_ms=NUMBER, tpot_ms=NUMBER, mode=TEXT)
SLO = thing(mode=TEXT, target={"type": "object"}, confidence=MAYBE_NUMBER, history=many(TARGET))
PREVIEW = thing(
    sentence=TEXT,
    is_kept=MAYBE_TRUTH,
    seen={"anyOf": [PREDICTED, {"type": "null"}]},
    rungs=many(PREDICTED),
    doubt=TEXT,
    decided_at=MAYBE_NUMBER,
)
SIMULATED = thing(
    problem=TEXT,
    requests=INTEGER,
    seconds=NUMBER,
    seen=MAYBE_NUMBER,
    doubt=TEXT,
    in_force=TEXT,
    rows=many(thing(name=TEXT, attainment=NUMBER, ttft_p95_ms=MAYBE_NUMBER, tpot_p95_ms=MAYBE_NUMBER, changes=INTEGER)),
)
REPORT = fields_of(Compliance)
DECISION = thing(number=INTEGER, decided_at=NUMBER, action=TEXT, in_force=TEXT, split=TEXT, sentence=TEXT)
ROTATION = thing(number=INTEGER, asked=TEXT, reason=TEXT, asked_at=NUMBER, problem=TEXT, sentence=TEXT)
KEY = thing(name=TEXT, scopes=many(TEXT), created_by=TEXT, expires_at=MAYBE_NUMBER, state=TEXT)
PROCESS = fields_of(ProcessRow)
UNIT = thing(name=TEXT, active=TEXT)
LINE = fields_of(LogLine)
HEALTH = thing(findings=many(thing(level=TEXT, about=TEXT, seen=TEXT, advice=TEXT)))
BACKUP = thing(name=TEXT, bytes=INTEGER, made_at=NUMBER)
AUDITED = thing(at=NUMBER, who=TEXT, address=TEXT, action=TEXT, was_done=TRUTH, sentence=TEXT, reason=TEXT)
