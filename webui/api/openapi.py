"""The OpenAPI document of the admin API, made from the routes and the bodies they take."""

from __future__ import annotations

from typing import Any, NamedTuple

from webui.api import answers
from webui.api.bodies import Body, KeyBody, PolicyBody, RotationBody
from webui.versions import version_of


class Operation(NamedTuple):
    """`answer`: its schema; None for a file. `parameters`: name → (in, what)."""

    method: str
    path: str
    summary: str
    answer: answers.Schema | None
    body: type[Body] | None = None
    parameters: tuple[tuple[str, str, str], ...] = ()


SPAN = ("span", "query", "Seconds back from now.")
LIMIT = ("limit", "query", "How many, at most.")
NAME = ("name", "path", "As the list has it.")
ROTATED = answers.thing(sentence=answers.TEXT, rotation=answers.ROTATION)
MADE = answers.thing("The key, told this once.", sentence=answers.TEXT, key=answers.TEXT)

OPERATIONS = (
    Operation("get", "/status", "How the appliance is now.", answers.STATUS),
    Operation(
        "get", "/metrics", "Metrics of a span of time, with what happened in it.", answers.METRICS, None, (SPAN,)
    ),
    Operation("get", "/slo", "Targets, policy and who set them.", answers.SLO),
    Operation("patch", "/slo", "Change targets or policy.", answers.DONE, PolicyBody),
    Operation(
        "get",
        "/slo/preview",
        "What other targets would mean, by what was seen and predicted last.",
        answers.PREVIEW,
        None,
        (("ttft_ms", "query", "Target in milliseconds."), ("tpot_ms", "query", "Target in milliseconds.")),
    ),
    Operation(
        "get",
        "/slo/simulation",
        "The last minutes' load, simulated at each split and under the policy; takes seconds.",
        answers.SIMULATED,
        None,
        (("ttft_ms", "query", "Target in milliseconds."), ("tpot_ms", "query", "Target in milliseconds.")),
    ),
    Operation("get", "/report", "The compliance report.", answers.REPORT, None, (SPAN,)),
    Operation(
        "get",
        "/decisions",
        "The policy's latest decisions, oldest first.",
        answers.many(answers.DECISION),
        None,
        (LIMIT,),
    ),
    Operation("get", "/rotations", "The latest rotations, the latest first.", answers.many(answers.ROTATION)),
    Operation("post", "/rotations", "Move to another split, or renew the workers.", ROTATED, RotationBody),
    Operation("get", "/keys", "API keys, never the keys themselves.", answers.many(answers.KEY)),
    Operation("post", "/keys", "Make an API key; the answer tells it this once.", MADE, KeyBody),
    Operation("delete", "/keys/{name}", "Revoke an API key.", answers.DONE, None, (NAME,)),
    Operation("get", "/processes", "Every process of the appliance.", answers.many(answers.PROCESS)),
    Operation(
        "get",
        "/units",
        "The machine's services; none where the appliance runs in the foreground.",
        answers.many(answers.UNIT),
    ),
    Operation("post", "/units/{name}/restart", "Restart a service.", answers.DONE, None, (NAME,)),
    Operation(
        "get",
        "/logs",
        "The latest log lines, oldest first.",
        answers.many(answers.LINE),
        None,
        (
            ("unit", "query", "Of one process."),
            ("level", "query", "This level and worse."),
            ("words", "query", "All of them in the line."),
            LIMIT,
        ),
    ),
    Operation("get", "/health", "What the doctor finds; may take seconds.", answers.HEALTH),
    Operation("post", "/backup", "A copy of the database as it is now, for `semi-pd restore`.", None),
    Operation("get", "/backups", "The backups beside the database, the latest first.", answers.many(answers.BACKUP)),
    Operation(
        "post",
        "/backups/{name}/restore",
        "Put a backup in the database's place, at once; what was there is kept as one more.",
        answers.DONE,
        None,
        (NAME,),
    ),
    Operation(
        "get",
        "/audit",
        "Who did what, the latest first.",
        answers.many(answers.AUDITED),
        None,
        (("words", "query", "All of them in the entry."), ("action", "query", "Only this."), LIMIT),
    ),
    Operation("get", "/openapi.json", "This document.", {"type": "object"}),
)


def document() -> dict[str, Any]:
    """OpenAPI 3.1."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _described(operation)
    bodies = {one.body.__name__: one.body.model_json_schema() for one in OPERATIONS if one.body}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Semi-PD admin API",
            "version": version_of("semi-pd") or "source",
            "description": "Every change is in the audit log. Authorization: Bearer KEY, a key with the scope admin.",
        },
        "servers": [{"url": "/api/v1"}],
        "security": [{"key": []}],
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": bodies | {"Error": ERROR},
        },
        "paths": paths,
    }


ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {"code": {"type": "integer"}, "message": {"type": "string"}},
        }
    },
}
KINDS = {"span": "integer", "limit": "integer", "ttft_ms": "number", "tpot_ms": "number"}
_PROBLEMS = {
    "401": "No valid key.",
    "403": "A key without the scope admin.",
    "409": "Refused; the message says why.",
    "429": "Too often.",
    "503": "Nobody answers, or nothing can be read.",
    "507": "The disk takes nothing.",
}


def _described(operation: Operation) -> dict[str, Any]:
    problem = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    problems = _PROBLEMS | ({"400": "The body is not right."} if operation.body else {})
    described: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": f"{operation.method}{operation.path.replace('/', '_').replace('{', '').replace('}', '')}",
        "responses": {
            "200": {"description": operation.summary, "content": _content(operation.answer)},
            **{code: {"description": text, "content": problem} for code, text in problems.items()},
        },
        "parameters": [_parameter(*one) for one in operation.parameters],
    }
    if operation.body:
        schema = {"$ref": f"#/components/schemas/{operation.body.__name__}"}
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return described


def _content(answer: answers.Schema | None) -> dict[str, Any]:
    if answer is None:
        return {"application/vnd.sqlite3": {}}
    return {"application/json": {"schema": answer}}


def _parameter(name: str, where: str, what: str) -> dict[str, Any]:
    kind = KINDS.get(name, "string")
    return {"name": name, "in": where, "required": where == "path", "description": what, "schema": {"type": kind}}
