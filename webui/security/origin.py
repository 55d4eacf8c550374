"""Changes are taken from our own pages only: a browser says where a request comes from, and cannot be made to lie."""

from __future__ import annotations

from flask import Flask, abort, request

SAFE = ("GET", "HEAD", "OPTIONS")


def check_origin(app: Flask) -> None:
    """Before every change. Programs send a key of their own, which no page can make a browser add."""

    @app.before_request
    def _check() -> None:
        if request.method in SAFE or (request.authorization and request.authorization.type == "bearer"):
            return
        if request.headers.get("Origin") != request.host_url.rstrip("/"):
            abort(403, "This change was asked for by a page of another origin, so it was not made.")
