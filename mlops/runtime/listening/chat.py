"""Answers in the form of the chat adapter, read while they come."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

_HEADER = re.compile(r"\[\[ ## (\w+) ## \]\]")
_OPENING, _CLOSING = "[[ ## ", " ## ]]"
_NAME = re.compile(r"\w+")


class ChatReader:
    """Tells the text of fields under their `[[ ## field ## ]]` headers, the first section of each, without its margins.

    What it tells of a field is together what DSPy's adapter reads in the whole answer, however that was cut. Nothing is
    held back but what may be a header still, and blanks that may be the field's last.
    """

    def __init__(self, fields: Collection[str]) -> None:
        self._untold = set(fields)
        self._field: str | None = None
        self._has_begun = False
        """Whether something of the field was told."""
        self._blanks = ""
        """What follows once the field goes on."""
        self._line = ""
        """The beginning of a line of which nobody can say yet whether it is a header."""
        self._is_text = False
        """Whether the line under way is none, or goes on after one."""
        self._is_after_header = False
        self._carriage_return = ""

    def feed(self, text: str) -> Iterator[tuple[str, str]]:
        """The pieces that `text` completes, as field and text."""
        text = self._carriage_return + text
        self._carriage_return = "\r" if text.endswith("\r") else ""  # a line feed may belong to it
        for line in text[: len(text) - len(self._carriage_return)].splitlines(keepends=True):
            content = line.splitlines()[0]
            yield from self._read(content)
            if content != line:
                yield from self._end_line()

    def end(self) -> Iterator[tuple[str, str]]:
        """The pieces that the end of the answer completes."""
        yield from self._end_line()

    def _read(self, text: str) -> Iterator[tuple[str, str]]:
        if self._is_text:
            yield from self._tell(text)
            return
        self._line += text
        line = self._line.lstrip()
        if header := _HEADER.match(line):
            self._begin(header.group(1))
            rest, self._line, self._is_text = self._line[header.end() :], "", True
            yield from self._tell(rest)
        elif not _may_become_header(line):
            rest, self._line, self._is_text = self._line, "", True
            yield from self._tell(rest)

    def _begin(self, name: str) -> None:
        self._field = name if name in self._untold else None
        self._untold.discard(name)
        self._has_begun, self._blanks, self._is_after_header = False, "", True

    def _end_line(self) -> Iterator[tuple[str, str]]:
        yield from self._tell(self._line)
        if self._is_after_header:  # what stands beside a header has no margins
            self._blanks = ""
        self._blanks += "\n"
        self._line, self._is_text, self._is_after_header = "", False, False

    def _tell(self, text: str) -> Iterator[tuple[str, str]]:
        if self._field is None:
            return
        text = self._blanks + text
        told = text.rstrip()
        self._blanks = text[len(told) :]
        if not self._has_begun:
            told = told.lstrip()
        if told:
            self._has_begun = True
            yield self._field, told
        elif not self._has_begun:
            self._blanks = ""


def _may_become_header(line: str) -> bool:
    """Whether more text may make a header of `line`, whose left margin is gone."""
    if len(line) <= len(_OPENING):
        return _OPENING.startswith(line)
    name = _NAME.match(line, len(_OPENING)) if line.startswith(_OPENING) else None
    return name is not None and _CLOSING.startswith(line[name.end() :])
