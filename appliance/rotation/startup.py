"""The order in which an engine starts, each step when the one before has come about."""

from __future__ import annotations

import time
from collections.abc import Callable

from appliance.attention import Attention
from appliance.engine_processes import EngineProcesses

LOOK_SECONDS = 0.05
PROGRESS_SECONDS = 3.0


class Startup:
    """`is_active`: a group serves. `is_over`: there is no point in going on. `say` takes a line for a person."""

    def __init__(
        self,
        processes: EngineProcesses,
        attention: Attention,
        say: Callable[[str], None],
        is_active: Callable[[], bool],
        is_over: Callable[[], bool],
    ):
        self._processes = processes
        self._attention = attention
        self._say = say
        self._is_active = is_active
        self._is_over = is_over

    def follow(self, weights_are_loaded: Callable[[], None], endpoint: bool, is_up: Callable[[], None]) -> None:
        """From the first processes to an engine that serves, with its `endpoint` if it has one."""

        def await_workers() -> None:
            weights_are_loaded()
            self._when(self._is_active, "workers are ready", await_endpoint if endpoint else is_up)

        def await_endpoint() -> None:
            self._when(lambda: self._processes.is_endpoint_ready, "endpoint is ready", await_console)

        def await_console() -> None:
            self._when(lambda: self._processes.is_console_settled, "", is_up)

        self._attention.after(PROGRESS_SECONDS, self._tell_progress)
        self._when(lambda: self._processes.is_loaded, "weights are loaded", await_workers)

    def _tell_progress(self) -> None:
        """Now and then, as long as the weights are being loaded."""
        if self._processes.is_loaded or self._is_over():
            return
        if progress := self._processes.loading_progress:
            self._say(f"  {progress}")
        self._attention.after(PROGRESS_SECONDS, self._tell_progress)

    def _when(self, is_so: Callable[[], bool], what: str, then: Callable[[], None]) -> None:
        """Look again and again until it is so, and go on with `then`."""
        began = time.monotonic()

        def look() -> None:
            if self._is_over():
                return
            if not is_so():
                self._attention.after(LOOK_SECONDS, look)
                return
            if what:
                self._say(f"  {what} ({time.monotonic() - began:.1f} s)")
            then()

        look()
