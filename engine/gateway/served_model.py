"""What the gateway knows of the model it speaks for: names, text and limits; no weights, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from engine.config import ServerArgs
from engine.errors import ModelNotFound
from engine.gateway.chat_template import ChatTemplate
from engine.gateway.sampling import SamplingDefaults
from engine.gateway.tokenizer import TextTokenizer
from engine.model.config import ModelConfig


@dataclass(frozen=True, slots=True)
class ServedModel:
    """`most_tokens` is the longest context by the settings; the engine may serve less."""

    name: str
    config: ModelConfig
    most_tokens: int
    tokenizer: TextTokenizer
    chat_template: ChatTemplate | None
    sampling_defaults: SamplingDefaults

    @classmethod
    def load(cls, settings: ServerArgs) -> Self:
        """Raises `CannotStart` where the model directory lacks something."""
        path = settings.model_path
        config = ModelConfig.load(path)
        return cls(
            name=settings.model_name,
            config=config,
            most_tokens=settings.max_model_len or config.max_position_embeddings,
            tokenizer=TextTokenizer.load(path),
            chat_template=ChatTemplate.load(path),
            sampling_defaults=SamplingDefaults.load(path),
        )

    def check_name(self, name: str) -> None:
        """Raises `ModelNotFound`."""
        if name != self.name:
            raise ModelNotFound(f"The model {name!r} is not served here; {self.name!r} is.", param="model")
