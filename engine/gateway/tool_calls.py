"""Finds tool calls in text that arrives in pieces. Pure: text in; content, names and arguments out.

What comes out, joined, does not depend on how the text was cut. What only looked like a call is content.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from engine.gateway.call_scanner import CallScanner

_BETWEEN_CALLS = " \t\r\n;"


class Content(NamedTuple):
    """Text for the reader."""

    text: str


class CallBegun(NamedTuple):
    """The model calls a function; `call` counts from 0."""

    call: int
    name: str


class CallArguments(NamedTuple):
    """More of the JSON text of a call's arguments."""

    call: int
    text: str


Said = Content | CallBegun | CallArguments


class ToolCallParser(ABC):
    """What the formats have in common. `most_calls` None: calls beyond that number are dropped."""

    markers: tuple[str, ...] = ()
    """Texts that must reach the parser even where they are special tokens."""
    _needs_arguments = False

    def __init__(self, most_calls: int | None = None):
        self._most_calls = most_calls
        self.call_count = 0
        self._held = ""
        self._opening = ""  # what led into the call being read
        self._raw = ""  # the call being read
        self._scanner: CallScanner | None = None
        self._said: list[Said] = []

    def feed(self, piece: str) -> list[Said]:
        """What is known now."""
        self._held += piece
        while self._held and (self._read_call() if self._scanner else self._read_outside()):
            pass
        return self._take_said()

    def flush(self) -> list[Said]:
        """The rest, once it is known that nothing follows. A call that was cut off stays as far as it came."""
        if self._scanner is None:
            self._say(self._rest_outside())
        elif not self._scanner.has_begun:
            self._say(self._opening + self._raw)
        self._held = ""
        return self._take_said()

    @abstractmethod
    def _read_outside(self) -> bool:
        """Read from what is held, outside of calls; False where more text is needed."""

    @abstractmethod
    def _rest_outside(self) -> str:
        """What is held outside of calls, if nothing follows."""

    @abstractmethod
    def _call_ended(self, *, was_call: bool) -> None:
        """Choose how to go on behind a call, or behind what only looked like one."""

    def _begin_call(self, opening: str, rest: str) -> None:
        self._opening, self._held, self._raw = opening, rest, ""
        self._scanner = CallScanner()

    def _read_call(self) -> bool:
        scanner = self._scanner
        assert scanner is not None
        had_begun, arguments, length = scanner.has_begun, "", 0
        for character in self._held:
            arguments += scanner.feed(character)
            length += 1
            if scanner.is_over:
                break
        self._raw, self._held = self._raw + self._held[:length], self._held[length:]
        if scanner.has_begun:
            self._say_call(None if had_begun else scanner.name, arguments)
        if scanner.is_over:
            self._end_call(scanner)
        return scanner.is_over

    def _end_call(self, scanner: CallScanner) -> None:
        is_bare = scanner.is_complete and scanner.name is not None and not self._needs_arguments
        was_call = scanner.has_begun or is_bare
        if not was_call:
            self._say(self._opening + self._raw)
        elif not scanner.has_begun:
            self._say_call(scanner.name, "{}")
        self.call_count += was_call
        self._scanner = None
        self._call_ended(was_call=was_call)

    def _say(self, text: str) -> None:
        if text:
            self._said.append(Content(text))

    def _say_call(self, name: str | None, arguments: str) -> None:
        index = self.call_count
        if self._most_calls is not None and index >= self._most_calls:
            return
        if name is not None:
            self._said.append(CallBegun(index, name))
        if arguments:
            self._said.append(CallArguments(index, arguments))

    def _take_said(self) -> list[Said]:
        said, self._said = self._said, []
        return said


class HermesParser(ToolCallParser):
    """Qwen and Hermes: `<tool_call>{"name": …, "arguments": …}</tool_call>`, any number, after any text."""

    markers = ("<tool_call>", "</tool_call>")

    def __init__(self, most_calls: int | None = None):
        super().__init__(most_calls)
        self._is_behind_call = False

    def _read_outside(self) -> bool:
        if self._is_behind_call:
            return self._read_behind_call()
        opening = self.markers[0]
        before, found, rest = self._held.partition(opening)
        if found:
            self._say(before.rstrip())  # the line break that leads into a call belongs to it
            self._begin_call(before[len(before.rstrip()) :] + opening, rest)
            return True
        safe = len(self._held[: len(self._held) - _beginning_at_end(self._held, opening)].rstrip())
        self._say(self._held[:safe])
        self._held = self._held[safe:]
        return False

    def _read_behind_call(self) -> bool:
        """Everything up to the closing marker belongs to the call; models forget to close."""
        opening_at, closing_at = (self._held.find(marker) for marker in self.markers)
        if closing_at >= 0 and not 0 <= opening_at < closing_at:
            self._held = self._held[closing_at + len(self.markers[1]) :]
        elif opening_at < 0:
            return False
        self._is_behind_call = False
        return True

    def _rest_outside(self) -> str:
        is_cut_off = self._is_behind_call and self.markers[1].startswith(self._held.strip())
        return "" if is_cut_off else self._held

    def _call_ended(self, *, was_call: bool) -> None:
        self._is_behind_call = was_call


class LlamaParser(ToolCallParser):
    """Llama 3: the answer is `{"name": …, "parameters": …}` and nothing else, several with `;` between.

    A tag may stand ahead.
    """

    markers = ("<|python_tag|>",)
    _needs_arguments = True  # without a marker, an object with a name alone is more likely an answer

    def __init__(self, most_calls: int | None = None):
        super().__init__(most_calls)
        self._is_plain = False

    def _read_outside(self) -> bool:
        if self._is_plain:
            self._say(self._held)
            self._held = ""
            return False
        (tag,) = self.markers
        ahead = self._held.lstrip(_BETWEEN_CALLS if self.call_count else None)
        if not ahead or (tag.startswith(ahead) and ahead != tag):
            return False
        if ahead.startswith(tag):
            self._begin_call("", ahead.removeprefix(tag))
        elif ahead.startswith("{"):
            self._begin_call(self._held[: len(self._held) - len(ahead)], ahead)
        else:
            self._is_plain = True
        return True

    def _rest_outside(self) -> str:
        return self._held.lstrip(_BETWEEN_CALLS) if self.call_count else self._held

    def _call_ended(self, *, was_call: bool) -> None:
        self._is_plain = not was_call


def tool_call_parser(template: str) -> type[ToolCallParser] | None:
    """The format that a chat template teaches its model, None where it is none of those known here."""
    if "<function=" in template:  # Qwen3-Coder's, which is XML inside of <tool_call>
        return None
    if "<tool_call>" in template:
        return HermesParser
    if '"parameters":' in template and '"name":' in template:
        return LlamaParser
    return None


def _beginning_at_end(text: str, marker: str) -> int:
    """How many characters at the end of `text` may be the beginning of `marker`."""
    return next((length for length in range(len(marker) - 1, 0, -1) if text.endswith(marker[:length])), 0)
