"""One MPS daemon, a slot's own, so that a fault in one group does not end the other. Knows nothing of workers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from engine.errors import CannotStart, SemiPDError

MPS_CONTROL = "nvidia-cuda-mps-control"
PIPE_DIRECTORY = "CUDA_MPS_PIPE_DIRECTORY"
LOG_DIRECTORY = "CUDA_MPS_LOG_DIRECTORY"
VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"
PERCENTAGE = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"
"""A client's share of the SMs, read when CUDA starts in it."""

_LONGEST_PIPE_NAME = "control_privileged"
_SOCKET_PATH_LIMIT = 107  # sizeof(sockaddr_un.sun_path) less the closing zero byte
_ANSWER_SECONDS = 10.0
_RETRY_SECONDS = 0.05


class MpsDaemon:
    """`nvidia-cuda-mps-control` as a child of this process, in the foreground, for one GPU.

    `gpu` is an entry of `CUDA_VISIBLE_DEVICES`: see `visible_gpu`. The daemon starts its server when the first client
    comes. `binary` is a name to look up or a path.
    """

    def __init__(self, slot: str, pipe_dir: Path, log_dir: Path, gpu: str, binary: str = MPS_CONTROL):
        self.slot = slot
        self._pipe_dir = pipe_dir
        self._log_dir = log_dir
        self._gpu = gpu
        self._binary = binary
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def client_environment(self) -> dict[str, str]:
        """What a process needs in its environment, before CUDA starts in it, to be a client of this daemon.

        The daemon counts its GPUs anew: the one it has is number 0 to its clients.
        """
        return {PIPE_DIRECTORY: str(self._pipe_dir), LOG_DIRECTORY: str(self._log_dir), VISIBLE_DEVICES: "0"}

    @property
    def pid(self) -> int | None:
        """The daemon's process, None if it is not running."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self, timeout: float = 20.0) -> None:
        """Start the daemon and wait until it answers.

        Raises `CannotStart` where MPS is not installed, the directory's path is too long or the daemon ends at once,
        `SemiPDError` where it does not answer within `timeout` seconds.
        """
        assert self.pid is None, "the daemon runs already"
        self._check_path()
        shutil.rmtree(self._pipe_dir, ignore_errors=True)  # what one that was killed has left
        for directory in (self._pipe_dir, self._log_dir):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._process = subprocess.Popen(
                [self._binary, "-f"],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                process_group=0,  # the terminal's Ctrl-C is not for the daemon: its clients drain first
            )
        except (FileNotFoundError, PermissionError) as error:
            raise CannotStart(
                f"MPS cannot be started, {self._binary} is not there to run: install NVIDIA's driver with its MPS "
                "tools, or set mode to 'colocated'."
            ) from error
        self._wait_until_it_answers(self._process, timeout)

    def servers(self) -> list[int]:
        """The pids of the daemon's servers; none before the first client has come. Raises `SemiPDError`."""
        return [int(word) for word in self._ask("get_server_list").split() if word.isdecimal()]

    def begin_asking(self) -> subprocess.Popen[bytes]:
        """A process that ends with status 0 once the daemon has answered: for those who cannot wait for it."""
        asking = subprocess.Popen(
            [self._binary],
            env=self._environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert asking.stdin is not None
        with suppress(BrokenPipeError), asking.stdin as command:
            command.write(b"get_server_list\n")
        return asking

    def kill(self) -> None:
        """End the daemon now, even where it is stopped; its servers stay until `stop`."""
        if self._process is not None:
            self._process.kill()

    def stop(self, timeout: float = 10.0) -> None:
        """Tell the daemon to quit and wait for its end; after `timeout` seconds, end it. Its clients must be gone."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            if process.poll() is None:
                self._ask("quit", timeout)
            process.wait(timeout)
        except (SemiPDError, subprocess.TimeoutExpired):
            process.kill()
            process.wait()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # servers are in the group it led, and stay where it was killed

    def _check_path(self) -> None:
        length = len(os.fsencode(self._pipe_dir / _LONGEST_PIPE_NAME))
        if length > _SOCKET_PATH_LIMIT:
            raise CannotStart(
                f"The sockets of MPS under {self._pipe_dir} would have paths of {length} bytes, the kernel allows "
                f"{_SOCKET_PATH_LIMIT}: set XDG_RUNTIME_DIR to a shorter path."
            )

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:
            try:
                # Waiting on the process is the pause between two tries, and ends at once when the daemon does.
                status = process.wait(_RETRY_SECONDS)
            except subprocess.TimeoutExpired:
                pass
            else:
                self._process = None
                raise CannotStart(
                    f"The MPS daemon of slot {self.slot} ended at once with status {status}{self._reason()}."
                )
            try:
                self.servers()
                return
            except SemiPDError:
                if time.monotonic() >= deadline:
                    self.stop()
                    raise

    def _ask(self, command: str, timeout: float = _ANSWER_SECONDS) -> str:
        """What the daemon answers; the same program is its client."""
        try:
            answer = subprocess.run(
                [self._binary],
                input=command + "\n",
                env=self._environment(),
                capture_output=True,
                text=True,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired as error:
            raise SemiPDError(
                f"The MPS daemon of slot {self.slot} did not answer {command} in {timeout:g} s."
            ) from error
        if answer.returncode != 0:
            said = (answer.stderr or answer.stdout).strip()
            raise SemiPDError(f"The MPS daemon of slot {self.slot} refused {command}: {said}")
        return answer.stdout

    def _environment(self) -> dict[str, str]:
        return os.environ | self.client_environment | {VISIBLE_DEVICES: self._gpu}

    def _reason(self) -> str:
        """The last line of the daemon's log, if it came to write one."""
        log = self._log_dir / "control.log"
        lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
        return f": {lines[-1]}" if lines else ""


def visible_gpu(gpu: str, environment: Mapping[str, str]) -> str:
    """The entry of `CUDA_VISIBLE_DEVICES` that lets a process see the one GPU `gpu` names.

    `gpu` is a UUID, or an index among the GPUs that `environment` leaves visible. Raises `CannotStart` if it hides it.
    """
    listed = environment.get(VISIBLE_DEVICES)
    if listed is None or not gpu.isdecimal():
        return gpu
    entries = [entry.strip() for entry in listed.split(",") if entry.strip()]
    if int(gpu) >= len(entries):
        raise CannotStart(f"The setting gpu cannot be {gpu!r}: {VISIBLE_DEVICES} is {listed!r}.")
    return entries[int(gpu)]


def outside_mps(runtime_dir: Path, gpu: str) -> dict[str, str]:
    """The environment of a process that is no client of any MPS daemon: its pipe directory does not exist."""
    return {PIPE_DIRECTORY: str(runtime_dir / "no-mps"), VISIBLE_DEVICES: gpu}
