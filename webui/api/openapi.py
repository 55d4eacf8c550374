"""The OpenAPI document of the admin API, made from the routes and the bodies they take."""

from __future__ import annotations

from typing import Any, NamedTuple

from webui.api.bodies import Body, KeyBody, PolicyBody, RotationBody
from webui.versions import version_of


class Operation(NamedTuple):
    """`parameters`: name → (in, what). `statuses`: beyond 200, 401, 429."""

    method: str
    path: str
    summary: str
    body: type[Body] | None = None
    parameters: tuple[tuple[str, str, str], ...] = ()


SPAN = ("span", "query", "Seconds back from now.")
LIMIT = ("limit", "query", "How many, at most.")

OPERATIONS = (
    Operation("get", "/status", "How the appliance is now."),
    Operation("get", "/metrics", "Metrics of a span of time, as columns, with what happened in it.", None, (SPAN,)),
    Operation("get", "/slo", "Targets, policy and who set them."),
    Operation("patch", "/slo", "Change targets or policy.", PolicyBody),
    Operation("get", "/report", "The compliance report.", None, (SPAN,)),
    Operation("get", "/decisions", "The policy's latest decisions, oldest first.", None, (LIMIT,)),
    Operation("get", "/rotations", "The latest rotations, the latest first."),
    Operation("post", "/rotations", "Move to another split, or renew the workers.", RotationBody),
    Operation("get", "/keys", "API keys, never the keys themselves."),
    Operation("post", "/keys", "Make an API key; the answer tells it this once.", KeyBody),
    Operation("delete", "/keys/{name}", "Revoke an API key.", None, (("name", "path", "The key's name."),)),
    Operation("get", "/processes", "Every process of the appliance."),
    Operation("get", "/units", "The machine's services; none where the appliance runs in the foreground."),
    Operation("post", "/units/{name}/restart", "Restart a service.", None, (("name", "path", "As /units has it."),)),
    Operation(
        "get",
        "/logs",
        "The latest log lines, oldest first.",
        None,
        (
            ("unit", "query", "Of one process."),
            ("level", "query", "This level and worse."),
            ("words", "query", "All of them in the line."),
            LIMIT,
        ),
    ),
    Operation("get", "/health", "What the doctor finds; may take seconds."),
    Operation("get", "/audit", "Who did what, the latest first.", None, (LIMIT,)),
    Operation("get", "/openapi.json", "This document."),
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
_PROBLEMS = {"401": "No valid key.", "409": "Refused; the message says why.", "429": "Too often."}


def _described(operation: Operation) -> dict[str, Any]:
    problem = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    problems = _PROBLEMS | ({"400": "The body is not right."} if operation.body else {})
    described: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": f"{operation.method}{operation.path.replace('/', '_').replace('{', '').replace('}', '')}",
        "responses": {
            "200": {"description": operation.summary, "content": {"application/json": {"schema": {}}}},
            **{code: {"description": text, "content": problem} for code, text in problems.items()},
        },
        "parameters": [_parameter(*one) for one in operation.parameters],
    }
    if operation.body:
        schema = {"$ref": f"#/components/schemas/{operation.body.__name__}"}
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return described


def _parameter(name: str, where: str, what: str) -> dict[str, Any]:
    kind = "integer" if name in ("span", "limit") else "string"
    return {"name": name, "in": where, "required": where == "path", "description": what, "schema": {"type": kind}}
