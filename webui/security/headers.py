"""What a browser may do with a page: run our scripts, load from here, talk to here, and nothing else."""

from __future__ import annotations

import secrets

from flask import Flask, Response, g

POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self'; style-src-attr 'none'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
A_YEAR_SECONDS = 365 * 86400


def csp_nonce() -> str:
    """One for each answer, in its header and in its script tags."""
    if "csp_nonce" not in g:
        g.csp_nonce = secrets.token_urlsafe(16)
    return g.csp_nonce


def add_headers(app: Flask, has_tls: bool) -> None:
    """To every answer; pages are never kept by a cache, files of a release are."""
    app.jinja_env.globals["csp_nonce"] = csp_nonce

    @app.after_request
    def _add(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = POLICY.format(nonce=csp_nonce())
        for name, value in HEADERS.items():
            response.headers[name] = value
        if has_tls:
            response.headers["Strict-Transport-Security"] = f"max-age={A_YEAR_SECONDS}"
        response.headers.setdefault("Cache-Control", "no-store")
        return response
