"""The gateway's event loop: uvloop, with a bound on how long a TLS handshake may take."""

from __future__ import annotations

from typing import Any

import uvloop

HANDSHAKE_SECONDS = 10.0
"""A connection whose handshake does not end is no connection yet for the protocol, which could not cut it."""


class GatewayLoop(uvloop.Loop):
    """uvicorn gives no way to pass this on, and the loop's own bound is a minute."""

    async def create_server(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("ssl") is not None:
            kwargs["ssl_handshake_timeout"] = HANDSHAKE_SECONDS
        return await super().create_server(*args, **kwargs)
