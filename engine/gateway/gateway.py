"""What all endpoints of one gateway worker share."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import dataclass, field
from typing import Self

from engine.config import PortArgs, ServerArgs
from engine.gateway.admission import LoadReader
from engine.gateway.engine_client import EngineClient
from engine.gateway.keys import Keys
from engine.gateway.metrics import Metrics
from engine.gateway.path_watch import PathWatch
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
    path: PathWatch
    beside: list[asyncio.Task[None]] = field(default_factory=list)

    @classmethod
    def build(cls, ports: PortArgs) -> Self:
        """Raises `CannotStart` where the model directory lacks something."""
        settings = ports.read_settings()
        model = ServedModel.load(settings)
        load_reader = LoadReader(ports.load_table_path)
        engine = EngineClient(ports.gateway_address, settings.engine_patience_seconds)
        return cls(
            settings=settings,
            model=model,
            renderer=TemplateRenderer(settings.model_path, _TEMPLATE_CHARACTERS_A_BYTE * settings.max_body_bytes),
            compiler=GrammarCompiler(settings.model_path),
            keys=Keys(ports.keys_path, ports.key_use_path),
            load_reader=load_reader,
            engine=engine,
            metrics=Metrics(ports.metrics_dir, settings),
            path=PathWatch(engine, lambda: told_by(engine, load_reader), settings.probe_seconds),
        )

    async def start(self) -> None:
        """Connect, and start what runs beside. Needs the running loop."""
        if self.model.has_chat_template:
            self.renderer.start()
        await self.engine.start()
        self.beside.append(asyncio.create_task(self.path.run()))
        gc.freeze()  # what is there now stays: full collections need not look at it

    async def stop(self) -> None:
        for task in self.beside:
            task.cancel()
        await asyncio.gather(*self.beside, return_exceptions=True)
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
        """What the engine says of its load."""
        return told_by(self.engine, self.load_reader)


def told_by(engine: EngineClient, load_reader: LoadReader) -> LoadSnapshot:
    """Not ready while nobody is there to say anything."""
    return load_reader.read() if engine.is_connected else NOT_READY
