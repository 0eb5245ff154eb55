"""Answers in the form of the JSON adapter, read while they come."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Generator
from typing import TypeAlias

Reading: TypeAlias = Generator[None, None, None]
"""A part of the parser; it yields where it lacks text."""

_PLAIN = re.compile(r'[^"\\]+')
_ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_HEX = frozenset("0123456789abcdefABCDEF")


class ObjectReader:
    """Tells the string values of an object's own keys, the first of each. Around the object there may be anything.

    What it tells of a field is together the value in the whole answer, however that was cut, as long as it is JSON;
    from the first place on where it is none, nothing more is told.
    """

    def __init__(self, fields: Collection[str]) -> None:
        self._untold = set(fields)
        self._text, self._at = "", 0
        self._pieces: list[tuple[str, str]] = []
        self._reading = self._answer()
        next(self._reading)

    def feed(self, text: str) -> list[tuple[str, str]]:
        """The pieces that `text` completes, as field and text."""
        self._text, self._at = text, 0  # all earlier text is read
        next(self._reading)
        pieces, self._pieces = self._pieces, []
        return pieces

    def end(self) -> list[tuple[str, str]]:
        """The pieces that the end of the answer completes: none, a string ends with its quote."""
        return []

    def _answer(self) -> Reading:
        while not (yield from self._object()):
            pass
        while True:  # nothing that follows counts
            yield

    def _object(self) -> Generator[None, None, bool]:
        """Read up to and through the next object; False when it was a brace and nothing more."""
        while (yield from self._next()) != "{":
            pass
        char = yield from self._visible()
        if char != '"':
            self._at -= 1
            return False
        while char == '"':
            char = yield from self._member()
            if char == ",":
                char = yield from self._visible()
        return True

    def _member(self) -> Generator[None, None, str]:
        """Read a key whose quote has been read, and its value; what follows them, or nothing where this is no JSON."""
        parts: list[str] = []
        yield from self._string(parts.append)
        if (yield from self._visible()) != ":":
            return ""
        char = yield from self._visible()
        key = "".join(parts)
        if char != '"' or key not in self._untold:
            self._untold.discard(key)
            return (yield from self._skip(char))
        self._untold.discard(key)
        yield from self._string(lambda text: self._tell(key, text))
        return (yield from self._visible())

    def _tell(self, field: str, text: str) -> None:
        if text:
            self._pieces.append((field, text))

    def _skip(self, char: str) -> Generator[None, None, str]:
        """Read the rest of a value that begins with `char`; what follows it."""
        depth = 0
        while True:
            if char == '"':
                yield from self._string(_ignored)
            elif char in "[{":
                depth += 1
            elif char in "]}":
                if not depth:
                    return char
                depth -= 1
            elif char == "," and not depth:
                return char
            char = yield from self._next()

    def _string(self, tell: Callable[[str], None]) -> Reading:
        """Read the rest of a string whose quote has been read, with its closing quote."""
        high = ""  # the first half of a pair that stands for one character
        while True:
            yield from self._more()
            if not high and (plain := _PLAIN.match(self._text, self._at)):
                self._at = plain.end()
                tell(plain.group())
                continue
            char = yield from self._next()
            escaped = (yield from self._escaped()) if char == "\\" else char
            if high and char == "\\" and "\udc00" <= escaped <= "\udfff":
                escaped = _joined(high + escaped)
            elif high:
                tell(high)
            high = ""
            if char == '"':
                return
            if char == "\\" and "\ud800" <= escaped <= "\udbff":
                high = escaped
            else:
                tell(escaped)

    def _escaped(self) -> Generator[None, None, str]:
        char = yield from self._next()
        if char != "u":
            return _ESCAPED.get(char, char)
        digits = ""
        while len(digits) < 4:
            digit = yield from self._next()
            if digit not in _HEX:
                self._at -= 1
                return digits
            digits += digit
        return chr(int(digits, 16))

    def _visible(self) -> Generator[None, None, str]:
        """The next character that is no blank."""
        while (char := (yield from self._next())) in " \t\r\n":
            pass
        return char

    def _more(self) -> Reading:
        """Wait until there is a character to be read."""
        while self._at >= len(self._text):
            yield

    def _next(self) -> Generator[None, None, str]:
        yield from self._more()
        self._at += 1
        return self._text[self._at - 1]


def _joined(pair: str) -> str:
    return pair.encode("utf-16-le", "surrogatepass").decode("utf-16-le")


def _ignored(text: str) -> None:
    """What nobody asked for."""
