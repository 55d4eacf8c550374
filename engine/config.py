"""All settings of one appliance, checked when they are built, and where its processes meet."""

from __future__ import annotations

import ipaddress
import os
import tempfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import AliasChoices, Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from engine.allocation import SMAllocation, Splitter
from engine.errors import CannotStart
from engine.systemd import credential

DEMO_MODEL = Path(__file__).parent / "demo_model"
SLOTS = ("a", "b")

TLS_KEY_CREDENTIAL = "tls-key"
"""Under this name systemd hands the key of `tls_key` to the services that speak TLS."""


class InstanceRole(StrEnum):
    """Who asks for KV blocks."""

    PREFILL = "prefill"
    DECODE = "decode"


class Mode(StrEnum):
    """`semi_pd`: a prefill and a decode worker share the GPU; `colocated`: one worker does both."""

    SEMI_PD = "semi_pd"
    COLOCATED = "colocated"


class Standby(StrEnum):
    """What the slot that does not serve has: `cold`, processes that have imported all they need; `warm`, a group at the
    split in force that is ready to take over at once."""

    COLD = "cold"
    WARM = "warm"


class ServerArgs(BaseSettings):
    """Settings of one appliance. Every field can come from `SEMI_PD_<FIELD>` in the environment.

    Fields that are None are chosen for the machine: see `for_device`. A bad value raises `pydantic.ValidationError`;
    `explain` makes one sentence of it.

    `insecure_bind` lets the endpoint listen beyond this machine without TLS. `max_queue_seconds`: a request that would
    wait for longer before it begins is refused, None for no limit. `max_requests_per_key`: live requests of
    one API key, None for no limit. `max_connections`: of one gateway worker; beyond them the one that has been without
    a request for the longest makes room. `header_timeout_seconds`: how long a client may take to send a request's
    header, and be silent within its body. `slow_reader_seconds`: how long a client
    may leave a full send buffer unread. `engine_patience_seconds`: how long accepted requests wait for an engine that
    went away before they end with an error. `worker_patience_seconds`: how long a worker that has work may be stopped,
    or take beyond its usual step, before it is killed and replaced. `probe_seconds`: after so long without a step a
    gateway asks for two tokens itself; where they do not come in twice that time, /health says so.
    `group_memory_bytes`: of the device, what one group of workers may take beside weights and KV pages; None for a
    default. `deterministic`: a request's bits do not depend
    on what else is computed, where, or how often it is interrupted; steps are padded, prompts computed one at a time.
    `in_place`: a split that the workers have prepared is taken without other processes. `standby`: `warm` takes a
    group's memory, and saves the seconds of a start when the group that serves is lost. `borrowing`: while one phase
    has nothing to do, the other has the whole device. `console_proxies`: so many proxies before the console, the first
    of which ends TLS, are believed about who asks; by default none is.
    """

    model_config = SettingsConfigDict(
        env_prefix="SEMI_PD_", frozen=True, extra="forbid", populate_by_name=True, protected_namespaces=()
    )

    model_path: Path = DEMO_MODEL
    served_model_name: str = ""
    load_format: Literal["auto", "dummy"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    seed: int = 0

    device: Literal["auto", "cpu", "cuda"] = "auto"
    gpu: str = "0"
    mode: Mode = Mode.SEMI_PD
    splitter: Splitter | None = None
    prefill_sm_percentage: int = Field(
        default=80,
        ge=1,
        le=100,
        validation_alias=AliasChoices("prefill_sm_percentage", "SEMI_PD_PREFILL_SM_PERCENTILE"),
    )
    decode_sm_percentage: int = Field(
        default=100, ge=1, le=100, validation_alias=AliasChoices("decode_sm_percentage", "SEMI_PD_DECODE_SM_PERCENTILE")
    )

    tls_cert: Path | None = None
    tls_key: Path | None = None
    insecure_bind: bool = False
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    console_port: int = Field(default=8080, ge=0, le=65535)
    console_hosts: tuple[str, ...] = ()
    console_proxies: int = Field(default=0, ge=0, le=8)
    gateway_workers: int = Field(default=1, ge=1, le=16)
    max_body_bytes: int = Field(default=1 << 20, ge=1024, le=1 << 30)
    max_connections: int = Field(default=4096, ge=1, le=1 << 20)
    max_requests_per_key: int | None = Field(default=None, ge=1, le=1 << 20)
    header_timeout_seconds: float = Field(default=10.0, gt=0.0, le=3600.0)
    slow_reader_seconds: float = Field(default=30.0, gt=0.0, le=3600.0)
    engine_patience_seconds: float = Field(default=60.0, ge=0.0, le=3600.0)
    worker_patience_seconds: float = Field(default=3.0, gt=0.0, le=3600.0)
    probe_seconds: float = Field(default=5.0, gt=0.0, le=3600.0)

    page_size: int = Field(default=16, ge=1, le=256)
    prefix_caching: bool = True
    kv_memory_bytes: int | None = Field(default=None, ge=1)
    gpu_memory_fraction: float = Field(default=0.9, gt=0.0, le=0.98)
    group_memory_bytes: int | None = Field(default=None, ge=1)
    max_model_len: int | None = Field(default=None, ge=2)
    prefill_token_budget: int | None = Field(default=None, ge=1, le=1 << 20)
    max_running_requests: int | None = Field(default=None, ge=1, le=4096)
    max_queued_requests: int = Field(default=1024, ge=1, le=1 << 20)
    max_queue_seconds: float | None = Field(default=None, gt=0.0)
    deterministic: bool = False
    in_place: bool = True
    standby: Standby = Standby.COLD
    borrowing: bool = True

    ttft_target_ms: float = Field(default=500.0, gt=0)
    tpot_target_ms: float = Field(default=50.0, gt=0)
    policy: Literal["auto", "hold", "manual"] = "auto"
    window_size_seconds: float = Field(default=30.0, ge=1.0, le=3600.0)
    adjustment_cooldown_seconds: float = Field(default=60.0, ge=0.0)
    min_confidence_threshold: float = Field(default=0.7, ge=0.0, le=1.0)

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator("model_path")
    @classmethod
    def _model_directory_exists(cls, path: Path) -> Path:
        if not (path / "config.json").is_file():
            raise ValueError("it must be a Hugging Face model directory, and this one has no config.json")
        return path.resolve()

    @field_validator("tls_cert", "tls_key")
    @classmethod
    def _tls_file_exists(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_file():
            raise ValueError("there is no such file")
        return path and path.resolve()

    @field_validator("tls_key")
    @classmethod
    def _tls_key_has_a_certificate(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if path is not None and info.data.get("tls_cert", path) is None:
            raise ValueError("it needs tls_cert, the certificate that it belongs to")
        return path

    @field_validator("host")
    @classmethod
    def _beyond_this_machine_only_with_tls(cls, host: str, info: ValidationInfo) -> str:
        has_tls = info.data.get("tls_cert") is not None
        if has_tls or info.data.get("insecure_bind") or _is_loopback(host):
            return host
        raise ValueError("without TLS only a loopback address may be bound; set tls_cert and tls_key, or insecure_bind")

    @property
    def allocation(self) -> SMAllocation:
        """The split asked for at start."""
        return SMAllocation(self.prefill_sm_percentage, self.decode_sm_percentage)

    @property
    def model_name(self) -> str:
        """The name clients use in `model`."""
        return self.served_model_name or self.model_path.name.replace("_", "-")

    @property
    def url_scheme(self) -> Literal["http", "https"]:
        """How the endpoint is reached."""
        return "http" if self.tls_cert is None else "https"

    @property
    def console_host(self) -> str:
        """Where the console listens. Without TLS passwords do not leave this machine, `insecure_bind` or not."""
        return self.host if self.tls_cert is not None or _is_loopback(self.host) else "127.0.0.1"

    @property
    def console_url(self) -> str:
        """Where a browser on this machine finds the console."""
        return f"{self.url_scheme}://{_in_url(self.console_host)}:{self.console_port}"

    def for_device(self, device: Literal["cpu", "cuda"]) -> Self:
        """These settings with every open choice made for a device. Raises `CannotStart` for what it cannot have."""
        on_gpu = device == "cuda"
        can_split = (Splitter.GREEN, Splitter.MPS, Splitter.NONE) if on_gpu else (Splitter.DUTY, Splitter.NONE)
        if self.splitter and self.splitter not in can_split:
            raise CannotStart(
                f"The setting splitter cannot be '{self.splitter}' on {'a GPU' if on_gpu else 'the CPU'}: "
                f"it can be {' or '.join(can_split)}."
            )
        most_lanes = (64 if self.deterministic else 256) if on_gpu else 64  # a padded step costs what a full one does
        chosen: dict[str, Any] = {
            "device": device,
            "dtype": self.dtype if self.dtype != "auto" else ("bfloat16" if on_gpu else "float32"),
            "splitter": self.splitter or (Splitter.GREEN if on_gpu else Splitter.DUTY),
            "prefill_token_budget": self.prefill_token_budget or (3072 if on_gpu else 256),
            "max_running_requests": self.max_running_requests or most_lanes,
        }
        resolved = self.model_copy(update=chosen)
        if resolved.chunk_tokens == 0:
            raise CannotStart(
                f"The setting prefill_token_budget cannot be {resolved.prefill_token_budget} with deterministic: it "
                f"must be at least page_size, {self.page_size} tokens."
            )
        return resolved

    @property
    def chunk_tokens(self) -> int | None:
        """Tokens of each chunk of a prompt but its last, in whole pages; None where a chunk may have any length."""
        if not self.deterministic or self.prefill_token_budget is None:
            return None
        return self.prefill_token_budget // self.page_size * self.page_size


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def explain(error: ValidationError) -> str:
    """One sentence for the first bad setting: its name, its value and what would be right."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"]) or "settings"
    reason = first["msg"].removeprefix("Value error, ")
    value = first["input"]
    shown = str(value) if isinstance(value, Path) else repr(value)
    return f"The setting {name} cannot be {shown}: {reason[:1].lower()}{reason[1:]}."


_LONGEST_SOCKET_NAME = "scheduler-controller.sock"
_SOCKET_PATH_LIMIT = 107  # sizeof(sockaddr_un.sun_path) less the closing zero byte


@dataclass(frozen=True, slots=True)
class PortArgs:
    """Where the processes of one appliance meet: Unix sockets in a directory that only this user may enter."""

    runtime_dir: Path

    @classmethod
    def init_new(cls, server_args: ServerArgs) -> Self:
        """A fresh 0700 directory under `$XDG_RUNTIME_DIR`, or under the temporary folder, with the settings in it.

        Raises `CannotStart` where the socket paths would be longer than the kernel allows.
        """
        parent = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
        try:
            runtime_dir = Path(tempfile.mkdtemp(prefix="semi-pd-", dir=parent))
        except OSError as error:
            raise CannotStart(f"No runtime directory can be made under {parent}: {error.strerror}.") from error
        length = len(os.fsencode(runtime_dir / _LONGEST_SOCKET_NAME))
        if length > _SOCKET_PATH_LIMIT:
            runtime_dir.rmdir()
            raise CannotStart(
                f"Socket paths under {parent} would be {length} bytes long, the kernel allows {_SOCKET_PATH_LIMIT}: "
                "set XDG_RUNTIME_DIR to a shorter path."
            )
        ports = cls(runtime_dir)
        ports.write_settings(server_args)
        return ports

    def write_settings(self, settings: ServerArgs) -> None:
        """Fix the settings every process of this appliance runs with."""
        self.settings_file.touch(mode=0o600)
        self.settings_file.write_text(settings.model_dump_json())

    def read_settings(self) -> ServerArgs:
        """The settings every process of this appliance runs with; the key of TLS where systemd hands it to this one."""
        settings = ServerArgs.model_validate_json(self.settings_file.read_text())
        return settings.model_copy(update={"tls_key": credential(TLS_KEY_CREDENTIAL) or settings.tls_key})

    @property
    def settings_file(self) -> Path:
        return self.runtime_dir / "settings.json"

    @property
    def resident_path(self) -> str:
        """A plain Unix socket: file descriptors travel on it."""
        return str(self.runtime_dir / "resident.sock")

    @property
    def load_table_path(self) -> Path:
        """The shared-memory table from which gateways read queue depth and free pages."""
        return self.runtime_dir / "load-table"

    @property
    def busy_words_path(self) -> Path:
        """The shared memory in which the workers of a group tell each other whether they compute."""
        return self.runtime_dir / "busy-words"

    @property
    def metrics_dir(self) -> Path:
        """Where each gateway worker counts what it has served."""
        return self.runtime_dir / "metrics"

    @property
    def keys_path(self) -> Path:
        """The API keys that are valid, as SHA-256, one a line."""
        return self.runtime_dir / "keys"

    @property
    def key_use_path(self) -> Path:
        """When and how often each key is used, counted by all gateway workers."""
        return self.runtime_dir / "key-use"

    @property
    def gateway_address(self) -> str:
        """The scheduler's ZeroMQ socket for gateways."""
        return f"ipc://{self.runtime_dir}/scheduler-gateway.sock"

    @property
    def worker_address(self) -> str:
        """The scheduler's ZeroMQ socket for workers."""
        return f"ipc://{self.runtime_dir}/scheduler-worker.sock"

    @property
    def control_address(self) -> str:
        """The scheduler's ZeroMQ socket for the controller."""
        return f"ipc://{self.runtime_dir}/scheduler-controller.sock"

    @property
    def controller_address(self) -> str:
        """The controller's ZeroMQ socket for commands and the console."""
        return f"ipc://{self.runtime_dir}/controller.sock"

    def leader_address(self, slot: str) -> str:
        """The ZeroMQ socket of a slot's group leader."""
        return f"ipc://{self.runtime_dir}/leader-{slot}.sock"

    def mps_pipe_dir(self, slot: str) -> Path:
        """The pipe directory of a slot's own MPS daemon."""
        return self.runtime_dir / f"mps-{slot}"
