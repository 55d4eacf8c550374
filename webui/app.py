"""Makes the console's Flask application."""

from __future__ import annotations

from flask import Flask
from flask_wtf import CSRFProtect
from werkzeug.middleware.proxy_fix import ProxyFix

from webui.config import ConsoleConfig
from webui.pages import layout
from webui.pages.problems import handle_problems
from webui.security.headers import add_headers
from webui.security.limits import limiter
from webui.security.origin import check_origin
from webui.services import NAME, Services
from webui.views import (
    account,
    api,
    audit,
    first_run,
    health,
    keys,
    live,
    login,
    login_code,
    logs,
    overview,
    playground,
    processes,
    second_factor,
    slo,
    split,
)

BLUEPRINTS = (
    first_run,
    login,
    login_code,
    overview,
    live,
    slo,
    split,
    playground,
    processes,
    logs,
    keys,
    health,
    audit,
    account,
    second_factor,
    api,
)


def create_app(config: ConsoleConfig) -> Flask:
    """The console of one appliance. Opens `console.db`; raises `CannotStart` if it is a later release's."""
    app = Flask(__name__)
    app.config.update(config.for_flask())
    _trust_proxies(app, config.settings.console_proxies)
    app.extensions[NAME] = Services.of(config)
    add_headers(app, config.has_tls)
    check_origin(app)
    csrf = CSRFProtect(app)
    limiter.init_app(app)
    login.manager.init_app(app)
    layout.prepare(app)
    handle_problems(app)
    for module in BLUEPRINTS:
        app.register_blueprint(module.blueprint)
    csrf.exempt(api.blueprint)  # it asks for the token itself where a browser's session is used
    return app


def _trust_proxies(app: Flask, hops: int) -> None:
    """Believe exactly so many proxies about address, scheme and name; what came before them anybody may have written.

    With none nothing of the kind is believed.
    """
    if hops:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)
