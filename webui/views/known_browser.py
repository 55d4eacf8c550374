"""A cookie by which a browser that logged in once is told from others at its address, so that their bad tries do not
make it wait."""

from __future__ import annotations

import secrets
from ipaddress import IPv6Address, ip_address

from flask import Response, request
from itsdangerous import BadSignature, URLSafeTimedSerializer

from webui.config import ConsoleConfig
from webui.services import services

A_YEAR_SECONDS = 365 * 86400
NETWORK_BITS = 64
"""Of an IPv6 address, that belong to one customer's line: the rest is its own to choose for each try."""


def who_tries() -> str:
    """Whose tries are counted together."""
    known = _known()
    return f"address {network_of(request.remote_addr or '?')}" if known is None else f"browser {known}"


def is_known() -> bool:
    """Whether somebody has logged in with this browser before."""
    return _known() is not None


def network_of(address: str) -> str:
    """What who asks cannot change at will: the address, or of an IPv6 address the network."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    host_bits = 128 - NETWORK_BITS
    return f"{IPv6Address(int(parsed) >> host_bits << host_bits)}/{NETWORK_BITS}"


def _known() -> str | None:
    config = services().config
    try:
        return _signer(config).loads(request.cookies.get(config.cookie_name("browser"), ""), max_age=A_YEAR_SECONDS)
    except BadSignature:
        return None


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
