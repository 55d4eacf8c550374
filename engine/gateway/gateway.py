"""What all endpoints of one gateway worker share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from engine.config import PortArgs
from engine.gateway.admission import LoadReader
from engine.gateway.engine_client import EngineClient
from engine.gateway.keys import Keys
from engine.gateway.metrics import Metrics
from engine.gateway.served_model import ServedModel
from engine.scheduler.load_table import NOT_READY, LoadSnapshot


@dataclass(frozen=True, slots=True)
class Gateway:
    """Collaborators, made once. The engine client connects when the server starts."""

    model: ServedModel
    max_body_bytes: int
    keys: Keys
    load_reader: LoadReader
    engine: EngineClient
    metrics: Metrics

    @classmethod
    def build(cls, ports: PortArgs) -> Self:
        """Raises `CannotStart` where the model directory lacks something."""
        settings = ports.read_settings()
        model = ServedModel.load(settings)
        return cls(
            model=model,
            max_body_bytes=settings.max_body_bytes,
            keys=Keys(ports.keys_path),
            load_reader=LoadReader(ports.load_table_path),
            engine=EngineClient(ports.gateway_address),
            metrics=Metrics(model.name),
        )

    @property
    def load(self) -> LoadSnapshot:
        """What the engine says of its load; not ready while nobody is there to say it."""
        return self.load_reader.read() if self.engine.is_connected else NOT_READY
