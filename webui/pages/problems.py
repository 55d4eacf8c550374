"""What a browser or a program sees of a request that was not served: one sentence, never a trace."""

from __future__ import annotations

from flask import Flask, jsonify, render_template, request
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import DBAPIError
from werkzeug.exceptions import HTTPException, SecurityError

from appliance.store.trouble import trouble

API = "/api/"


def handle_problems(app: Flask) -> None:
    """For every status that is no success."""

    @app.errorhandler(SecurityError)
    def _untrusted(error: SecurityError) -> ResponseReturnValue:
        return "This console is not known under the name that was asked for: see the setting console_hosts.", 400

    @app.errorhandler(CSRFError)
    def _stale(error: CSRFError) -> ResponseReturnValue:
        return answer(400, "Outdated page", "This page was open for too long. Load it again, then repeat the change.")

    @app.errorhandler(HTTPException)
    def _http(error: HTTPException) -> ResponseReturnValue:
        code = error.code or 500
        said, status = answer(code, error.name, error.description or "")
        if error.response is None and code == 429 and (wait := getattr(error, "retry_after", None)):
            said.headers["Retry-After"] = str(wait)
        return said, status

    @app.errorhandler(DBAPIError)
    def _unwritten(error: DBAPIError) -> ResponseReturnValue:
        """507: Insufficient Storage."""
        why = trouble(error)
        if not why:
            return _crash(error)
        return answer(507, "Nothing can be written", f"The console's database cannot be written, {why}.")

    @app.errorhandler(Exception)
    def _crash(error: Exception) -> ResponseReturnValue:
        app.logger.exception("a request failed", exc_info=error)
        return answer(500, "The console failed", "It has written down why: see the console's log.")


def answer(code: int, title: str, sentence: str) -> tuple:
    """JSON for programs, a page for people."""
    if request.path.startswith(API) or request.accept_mimetypes.best == "application/json":
        return jsonify(error={"code": code, "message": sentence or title}), code
    return render_template("problem.html", code=code, title=title, sentence=sentence), code
