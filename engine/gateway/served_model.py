"""What the gateway knows of the model it speaks for: names, text and limits; no weights, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from engine.config import ServerArgs
from engine.errors import ModelNotFound
from engine.gateway.chat_template import ChatTemplate, template_source
from engine.gateway.sampling import SamplingDefaults
from engine.gateway.tokenizer import TextTokenizer
from engine.gateway.tool_calls import ToolCallParser, tool_call_parser
from engine.model.config import ModelConfig


@dataclass(frozen=True, slots=True)
class ServedModel:
    """`most_tokens` is the longest context by the settings; the engine may serve less.

    `tool_parser` is None where the model has no format for tool calls that is known here. `pieces_with_calls` are the
    tokenizer's, with the marks of that format.
    """

    name: str
    config: ModelConfig
    most_tokens: int
    tokenizer: TextTokenizer
    has_chat_template: bool
    tool_parser: type[ToolCallParser] | None
    pieces_with_calls: list[bytes]
    sampling_defaults: SamplingDefaults

    @classmethod
    def load(cls, settings: ServerArgs) -> Self:
        """Raises `CannotStart` where the model directory lacks something."""
        path = settings.model_path
        config = ModelConfig.load(path)
        tokenizer = TextTokenizer.load(path)
        template = template_source(path)
        tool_parser = tool_call_parser(template or "")
        return cls(
            name=settings.model_name,
            config=config,
            most_tokens=settings.max_model_len or config.max_position_embeddings,
            tokenizer=tokenizer,
            has_chat_template=ChatTemplate.load(path) is not None,
            tool_parser=tool_parser,
            pieces_with_calls=tokenizer.pieces_with(tool_parser.markers if tool_parser else ()),
            sampling_defaults=SamplingDefaults.load(path),
        )

    def check_name(self, name: str) -> None:
        """Raises `ModelNotFound`."""
        if name != self.name:
            raise ModelNotFound(f"The model {name!r} is not served here; {self.name!r} is.", param="model")
