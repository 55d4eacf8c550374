"""A cookie by which a browser that logged in once is told from others at its address, so that their bad tries do not
make it wait."""

from __future__ import annotations

import secrets

from flask import Response, request
from itsdangerous import BadSignature, URLSafeTimedSerializer

from webui.config import ConsoleConfig
from webui.services import services

A_YEAR_SECONDS = 365 * 86400


def who_tries() -> str:
    """Whose tries are counted together."""
    config = services().config
    try:
        known = _signer(config).loads(request.cookies.get(config.cookie_name("browser"), ""), max_age=A_YEAR_SECONDS)
    except BadSignature:
        return f"address {request.remote_addr}"
    return f"browser {known}"


def remember_browser(response: Response, config: ConsoleConfig) -> None:
    response.set_cookie(
        config.cookie_name("browser"),
        _signer(config).dumps(secrets.token_hex(8)),
        max_age=A_YEAR_SECONDS,
        secure=config.has_tls,
        httponly=True,
        samesite="Strict",
    )


def _signer(config: ConsoleConfig) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(config.secret(), salt="known-browser")
