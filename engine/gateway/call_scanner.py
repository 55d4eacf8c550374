"""Reads one JSON object that calls a tool, character by character. Pure; it never recurses."""

from __future__ import annotations

import json

_ARGUMENTS = ("arguments", "parameters")
_SPACE = " \t\r\n"


class CallScanner:
    """`{"name": "f", "arguments": {…}}`, keys in any order; `parameters` is another word for `arguments`.

    Arguments are passed on as the model wrote them, as soon as the name is known. Models also write them as a text
    that holds JSON, or as null.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self.is_complete = False
        self.is_broken = False
        self._state = self._before
        self._key = ""
        self._raw = ""  # of the key or value being read
        self._depth = 0
        self._is_in_string = False
        self._is_escaped = False
        self._arguments = ""  # read, and not passed on yet
        self._has_arguments = False
        self._streams = False

    @property
    def is_over(self) -> bool:
        return self.is_complete or self.is_broken

    @property
    def has_begun(self) -> bool:
        """True if it is a call: it has a name and arguments."""
        return self.name is not None and self._has_arguments

    def feed(self, character: str) -> str:
        """The text of the arguments that may be passed on after this character. Nothing may be fed once it is over."""
        assert not self.is_over
        self._state(character)
        if not self.has_begun:
            return ""
        ready, self._arguments = self._arguments, ""
        return ready

    # ── states: each takes one character ────────────────────────────────────────────────────────────────────────────

    def _before(self, character: str) -> None:
        if character == "{":
            self._state = self._before_key
        elif character not in _SPACE:
            self.is_broken = True

    def _before_key(self, character: str) -> None:
        if character == '"':
            self._raw, self._state = character, self._in_key
        elif character == "}":
            self.is_complete = True
        elif character not in _SPACE:
            self.is_broken = True

    def _in_key(self, character: str) -> None:
        self._raw += character
        if self._closes_string(character):
            self._key = self._decoded(self._raw) or ""
            self._state = self._before_colon

    def _before_colon(self, character: str) -> None:
        if character == ":":
            self._state = self._before_value
        elif character not in _SPACE:
            self.is_broken = True

    def _before_value(self, character: str) -> None:
        if character in _SPACE:
            return
        if character in ",:]}":
            self.is_broken = True
            return
        self._raw, self._depth = "", 0
        self._streams = self._is_arguments and character == "{"
        self._has_arguments |= self._streams
        self._state = self._in_value
        self._in_value(character)

    def _in_value(self, character: str) -> None:
        if self._is_in_string:
            self._keep(character)
            if self._closes_string(character) and not self._depth:
                self._end_value()
        elif not self._depth and character in _SPACE + ",}]":  # after a number, true, false or null
            self._end_value()
            if not self.is_broken:
                self._state(character)
        else:
            self._keep(character)
            self._is_in_string = character == '"'
            self._depth += (character in "{[") - (character in "}]")
            if character in "}]" and not self._depth:
                self._end_value()

    def _after_value(self, character: str) -> None:
        if character == ",":
            self._state = self._before_key
        elif character == "}":
            self.is_complete = True
        elif character not in _SPACE:
            self.is_broken = True

    # ── parts ───────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _is_arguments(self) -> bool:
        return self._key in _ARGUMENTS and not self._has_arguments

    def _keep(self, character: str) -> None:
        if self._streams:
            self._arguments += character
        else:
            self._raw += character

    def _closes_string(self, character: str) -> bool:
        if self._is_escaped:
            self._is_escaped = False
        elif character == "\\":
            self._is_escaped = True
        elif character == '"':
            self._is_in_string = False
            return True
        return False

    def _end_value(self) -> None:
        self._state = self._after_value
        if self._streams:
            self._streams = False
        elif self._key == "name" and self.name is None:
            self.name = self._decoded(self._raw)
        elif self._is_arguments:
            text = "{}" if self._raw == "null" else self._decoded(self._raw)
            self._has_arguments, self._arguments = text is not None, text or ""

    def _decoded(self, raw: str) -> str | None:
        """The text a JSON string stands for; anything else breaks the call."""
        try:
            value = json.loads(raw, strict=False) if raw[:1] == '"' else None
        except json.JSONDecodeError:
            value = None
        self.is_broken = value is None
        return value
