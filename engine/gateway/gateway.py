"""What all endpoints of one gateway worker share."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import Self

from engine.config import PortArgs, ServerArgs
from engine.gateway.admission import LoadReader
from engine.gateway.engine_client import EngineClient
from engine.gateway.keys import Keys
from engine.gateway.metrics import Metrics
from engine.gateway.served_model import ServedModel
from engine.gateway.template_renderer import TemplateRenderer
from engine.grammar.compiler import GrammarCompiler
from engine.scheduler.load_table import NOT_READY, LoadSnapshot

_TEMPLATE_CHARACTERS_A_BYTE = 4
"""A rendered conversation is hardly longer than the request: what the template adds is small."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """Collaborators, made once. The engine client connects when the server starts."""

    settings: ServerArgs
    model: ServedModel
    renderer: TemplateRenderer
    compiler: GrammarCompiler
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
            settings=settings,
            model=model,
            renderer=TemplateRenderer(settings.model_path, _TEMPLATE_CHARACTERS_A_BYTE * settings.max_body_bytes),
            compiler=GrammarCompiler(settings.model_path),
            keys=Keys(ports.keys_path, ports.key_use_path),
            load_reader=LoadReader(ports.load_table_path),
            engine=EngineClient(ports.gateway_address, settings.engine_patience_seconds),
            metrics=Metrics(ports.metrics_dir, settings),
        )

    async def start(self) -> None:
        """Connect, and start what runs beside. Needs the running loop."""
        if self.model.has_chat_template:
            self.renderer.start()
        await self.engine.start()
        gc.freeze()  # what is there now stays: full collections need not look at it

    async def stop(self) -> None:
        await self.engine.stop()
        await self.renderer.stop()
        self.compiler.stop()
        self.load_reader.close()

    @property
    def max_body_bytes(self) -> int:
        return self.settings.max_body_bytes

    @property
    def most_tokens(self) -> int:
        """Prompt and answer together, by what the engine says, or else by the settings."""
        return self.load.max_model_len or self.model.most_tokens

    @property
    def load(self) -> LoadSnapshot:
        """What the engine says of its load; not ready while nobody is there to say it."""
        return self.load_reader.read() if self.engine.is_connected else NOT_READY
