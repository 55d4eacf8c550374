"""The log of gunicorn, which serves endpoint and console: lines of JSON like everybody's."""

from __future__ import annotations

from gunicorn.config import Config
from gunicorn.glogging import Logger

from engine.json_lines import JsonLines


class ServerLog(Logger):
    """uvicorn's worker takes its handlers over."""

    def setup(self, cfg: Config) -> None:
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(JsonLines(str(cfg.proc_name).removeprefix("semi-pd-")))
