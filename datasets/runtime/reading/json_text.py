"""JSON and JSON Lines, record by record.

A JSON file is an array of objects, or an object one member of which is such an array. A record is parsed by itself, so
that one of wrong content hides no other, and memory is bounded by `MAX_RECORD`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import IO, Any

from datasets.runtime.reading.records import MAX_RECORD, Items, Record, RowProblem, UnreadableFile
from datasets.runtime.reading.text import chunks_of, lines_of

_SPACE = re.compile(r"[ \t\r\n]*")


class _Decoder:
    """The standard decoder, and which member was given twice in the value that it decoded last."""

    def __init__(self) -> None:
        self._decoder = json.JSONDecoder(object_pairs_hook=self._object)
        self.twice: str | None = None

    def decode(self, text: str, begin: int = 0) -> tuple[Any, int]:
        """The value at `begin` and where it ends. Raises `ValueError` and `RecursionError`."""
        self.twice = None
        return self._decoder.raw_decode(text, begin)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) != len(pairs):
            names = [name for name, _value in pairs]
            self.twice = next(name for name in names if names.count(name) > 1)
        return members

    def item(self, line: int, value: Any) -> Record | RowProblem:
        """`value`, decoded last, as a record."""
        if self.twice is not None:
            return RowProblem(line, self.twice, "duplicate_key", "A member is given twice.")
        if not isinstance(value, dict):
            return RowProblem(line, "", "not_an_object", "A record is an object.")
        return Record(line, value)


def read_json_lines(file: IO[bytes], *, encoding: str = "") -> Items:
    """One object per line; empty lines are left out."""
    decoder = _Decoder()
    for line in lines_of(file, encoding):
        if line.is_too_long:
            yield RowProblem(line.number, "", "record_too_long", f"More than {MAX_RECORD} characters.")
        elif text := line.text.strip():
            yield _of_line(decoder, line.number, text)


def _of_line(decoder: _Decoder, number: int, text: str) -> Record | RowProblem:
    try:
        value, end = decoder.decode(text)
    except RecursionError:
        return RowProblem(number, "", "too_deep", "Nested too deeply.")
    except ValueError as error:
        return RowProblem(number, "", "json_broken", _reason(error))
    if end < len(text):
        return RowProblem(number, "", "json_broken", f"Something follows the object at character {end + 1}.")
    return decoder.item(number, value)


def read_json(file: IO[bytes], *, encoding: str = "") -> Items:
    """The objects of a JSON file. Raises `UnreadableFile` where it stops being JSON."""
    window = _Window(chunks_of(file, encoding))
    first = window.peek()
    if first == "[":
        yield from _array(window)
    elif first == "{":
        yield from _members(window)
    elif first:
        raise UnreadableFile(0, "json_shape", "Expected an array of objects, or an object with one such array.")
    if rest := window.peek():
        hint = " If every line is an object of its own, the format is jsonl." if rest == "{" else ""
        raise UnreadableFile(0, "json_broken", f"Something follows the end of the JSON value.{hint}")


class _Window:
    """The part of a text that is being read: `at` is where reading stands, and the end grows on demand."""

    def __init__(self, chunks: Iterator[str]) -> None:
        self._chunks = chunks
        self._text = ""
        self._at = 0
        self.decoder = _Decoder()

    def peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            match = _SPACE.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._grow():
                return ""

    def take(self) -> str:
        """`peek`, and step over it."""
        found = self.peek()
        self._at += len(found)
        return found

    def value(self, line: int) -> Any:
        """The value that begins here. Raises `UnreadableFile`."""
        self.peek()
        while True:
            try:
                value, end = self.decoder.decode(self._text, self._at)
            except RecursionError:
                raise UnreadableFile(line, "too_deep", "Nested too deeply.") from None
            except ValueError as error:
                if len(self._text) - self._at > MAX_RECORD:
                    message = f"Not JSON, or more than {MAX_RECORD} characters."
                    raise UnreadableFile(line, "record_too_long", message) from None
                if not self._grow():
                    raise UnreadableFile(line, "json_broken", _reason(error, self._at)) from None
                continue
            # a number at the very end may go on
            if end < len(self._text) or not self._grow():
                self._at = end
                return value

    def _grow(self) -> bool:
        chunk = next(self._chunks, None)
        if chunk is None:
            return False
        self._text, self._at = self._text[self._at :] + chunk, 0
        return True


def _array(window: _Window) -> Items:
    window.take()
    number = 0
    if window.peek() == "]":
        window.take()
        return
    while True:
        number += 1
        value = window.value(number)
        yield window.decoder.item(number, value)
        mark = window.take()
        if mark == "]":
            return
        if mark != ",":
            raise UnreadableFile(number, "json_broken", "Expected a comma or the end of the array after this record.")


def _members(window: _Window) -> Items:
    """Of an object: the records of its one array."""
    window.take()
    has_array, mark = False, ""
    if window.peek() == "}":
        mark = window.take()
    while mark != "}":
        if not isinstance(window.value(0), str) or window.take() != ":":
            raise UnreadableFile(0, "json_broken", "Expected a member's name and a colon.")
        if window.peek() != "[":
            window.value(0)
        elif has_array:
            raise UnreadableFile(0, "json_shape", "The object has more than one array.")
        else:
            has_array = True
            yield from _array(window)
        mark = window.take()
        if not mark or mark not in ",}":
            raise UnreadableFile(0, "json_broken", "Expected a comma or the end of the object.")
    if not has_array:
        hint = "If every line is an object of its own, the format is jsonl."
        raise UnreadableFile(0, "json_shape", f"The object has no array of records. {hint}")


def _reason(error: ValueError, begin: int = 0) -> str:
    """Without the text itself, which may be long."""
    if isinstance(error, json.JSONDecodeError):
        return f"Not JSON: {error.msg} at character {error.pos - begin + 1}."
    return "Not JSON: a number of too many digits."
