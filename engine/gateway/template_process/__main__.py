"""`python -m engine.gateway.template_process MODEL_PATH`: orders on standard input, which is a socket."""

from __future__ import annotations

import resource
import socket
import sys
from pathlib import Path

import msgspec

from engine.errors import InvalidRequest
from engine.gateway.chat_template import ChatTemplate
from engine.gateway.template_messages import LENGTH, READY, Render, Rendered
from engine.process import follow_supervisor, run

MEMORY_BYTES = 2 << 30
"""Address space; more is an error in the template, not the end of the machine."""


def main() -> None:
    follow_supervisor()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    template = ChatTemplate.load(Path(sys.argv[1]))
    assert template is not None
    with socket.socket(fileno=sys.stdin.fileno()) as connection, connection.makefile("rwb") as stream:
        stream.write(READY)
        stream.flush()
        while head := stream.read(LENGTH.size):
            order = msgspec.json.decode(stream.read(*LENGTH.unpack(head)), type=Render)
            answer = msgspec.json.encode(_rendered(template, order))
            stream.write(LENGTH.pack(len(answer)) + answer)
            stream.flush()


def _rendered(template: ChatTemplate, order: Render) -> Rendered:
    try:
        text = template.render(
            order.messages, order.tools, order.more, is_open=order.is_open, most_characters=order.most_characters
        )
    except InvalidRequest as error:
        return Rendered(problem=error.message)
    return Rendered(text)


run(main)
