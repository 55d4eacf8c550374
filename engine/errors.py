"""The one tree of exceptions. Those that can reach a client know their HTTP status and OpenAI error code."""

from __future__ import annotations

CANNOT_START = 78
"""Exit code (sysexits' EX_CONFIG) of a process that must not be restarted until a person changed something."""


class SemiPDError(Exception):
    """Root of everything this project raises on purpose."""


class CannotStart(SemiPDError):
    """A setting, file or machine makes starting pointless; the message is one sentence for the user."""


class MemoryDamaged(SemiPDError):
    """The weights are not those that were loaded: nothing that is computed with them counts."""


class ProtocolMismatch(SemiPDError):
    """A peer speaks another version of the wire protocol, or sent bytes that are no message of ours."""


class RequestError(SemiPDError):
    """A request that is answered with an OpenAI error body.

    `status` is the HTTP status, `code` the machine-readable `error.code`, `param` the field at fault.
    """

    status = 400
    type = "invalid_request_error"
    code: str | None = None

    def __init__(self, message: str, *, param: str | None = None, retry_after_seconds: int | None = None):
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_seconds = retry_after_seconds


class InvalidRequest(RequestError):
    """A field has a value that cannot be served (400)."""

    code = "invalid_value"


class ContextLengthExceeded(RequestError):
    """Prompt and answer together are longer than the model or the KV pool can hold (400)."""

    code = "context_length_exceeded"


class Unauthorized(RequestError):
    """No API key, or one that is not known (401)."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class ModelNotFound(RequestError):
    """The request names a model that is not served here (404)."""

    status = 404
    type = "not_found_error"
    code = "model_not_found"


class BodyTooLarge(RequestError):
    """The request body is larger than the configured bound (413)."""

    status = 413
    code = "request_too_large"


class UnsupportedMediaType(RequestError):
    """The request body is not sent as plain JSON (415)."""

    status = 415
    code = "unsupported_media_type"


class RateLimited(RequestError):
    """The API key has as many live requests as it may have, or has sent as many a minute (429, with Retry-After)."""

    status = 429
    type = "requests"
    code = "rate_limit_exceeded"


class Overloaded(RequestError):
    """The queue is full, or the engine is not ready yet (503, with Retry-After)."""

    status = 503
    type = "service_unavailable_error"
    code = "overloaded"


class EngineFailure(RequestError):
    """The engine lost the request and could not go on with it (500)."""

    status = 500
    type = "internal_error"
    code = "engine_failure"
