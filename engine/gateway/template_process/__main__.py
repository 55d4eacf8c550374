"""`python -m engine.gateway.template_process MODEL_PATH`: orders on standard input, which is a socket."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import msgspec

from engine.errors import InvalidRequest
from engine.gateway.chat_template import ChatTemplate
from engine.gateway.side_process import answer_orders
from engine.gateway.template_messages import Render, Rendered
from engine.process import follow_supervisor, run

MEMORY_BYTES = 2 << 30
"""Address space; more is an error in the template, not the end of the machine."""


def main() -> None:
    follow_supervisor()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    template = ChatTemplate.load(Path(sys.argv[1]))
    assert template is not None

    def answer(order: bytes) -> bytes:
        return msgspec.json.encode(_rendered(template, msgspec.json.decode(order, type=Render)))

    answer_orders(answer)


def _rendered(template: ChatTemplate, order: Render) -> Rendered:
    try:
        text = template.render(
            order.messages, order.tools, order.more, is_open=order.is_open, most_characters=order.most_characters
        )
    except InvalidRequest as error:
        return Rendered(problem=error.message)
    return Rendered(text)


run(main)
