"""Cutting long documents into passages at the borders of paragraphs and sentences. Takes time in proportion to the
text, whatever is in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from itertools import accumulate
from typing import NamedTuple

_BORDER = re.compile(
    r"(?<![.!?…])[.!?…]++[\"'”’)\]]*+\s++"  # noqa: RUF001  # a sentence ends; these are the marks that are meant
    r"|[。！？]++[”’」』）]*+\s*+"  # noqa: RUF001  # as above, where no space stands between sentences
    r"|\n[^\S\n]*+\n\s*+"  # a paragraph ends
    r"|\n(?=[ \t]*+(?:[-*#]|\d{1,4}[.)])\s)"  # an item of a list or a heading follows
)
_WORD = re.compile(r"\S+")
_SPACE = re.compile(r"\s*+")


class Unit(StrEnum):
    WORDS = "words"
    CHARACTERS = "characters"


class _Piece(NamedTuple):
    """`text[start:end]`, which begins and ends with something other than white space and is not cut further."""

    start: int
    end: int
    words: int


def chunks(text: str, *, size: int, overlap: int = 0, unit: Unit = Unit.WORDS) -> list[str]:
    """`text` as pieces of at most `size` units in their order; every word of it is in at least one.

    Pieces end where sentences end, as long as a sentence is not longer than `size`. Each repeats whole sentences from
    the end of the one before, at most `overlap` units of them. `overlap` is smaller than `size`.
    """
    return [text[start:end] for start, end in spans(text, size=size, overlap=overlap, unit=unit)]


def spans(text: str, *, size: int, overlap: int = 0, unit: Unit = Unit.WORDS) -> list[tuple[int, int]]:
    """Where the pieces of `chunks` begin and end in `text`."""
    return list(_Packing(list(_pieces(text, size, unit)), size, overlap, unit).spans())


class _Packing:
    """Pieces put together, each time as many as fit."""

    def __init__(self, pieces: list[_Piece], size: int, overlap: int, unit: Unit) -> None:
        self._pieces = pieces
        self._size, self._overlap, self._unit = size, overlap, unit
        self._words_before = list(accumulate((piece.words for piece in pieces), initial=0))

    def spans(self) -> Iterator[tuple[int, int]]:
        first, count = 0, len(self._pieces)
        while first < count:
            last = first
            while last + 1 < count and self._measure(first, last + 1) <= self._size:
                last += 1
            yield self._pieces[first].start, self._pieces[last].end
            first = self._next_start(first, last) if last + 1 < count else count

    def _next_start(self, first: int, last: int) -> int:
        """The earliest start whose repetition is not longer than `overlap` and leaves room for something new."""
        start = last + 1
        while (
            start - 1 > first
            and self._measure(start - 1, last) <= self._overlap
            and self._measure(start - 1, last + 1) <= self._size
        ):
            start -= 1
        return start

    def _measure(self, first: int, last: int) -> int:
        """Units from the first piece to the last."""
        if self._unit is Unit.WORDS:
            return self._words_before[last + 1] - self._words_before[first]
        return self._pieces[last].end - self._pieces[first].start


def _pieces(text: str, size: int, unit: Unit) -> Iterator[_Piece]:
    for start, end in _sentences(text):
        piece = _piece(text, start, end)
        if piece is None:
            continue
        if (piece.words if unit is Unit.WORDS else piece.end - piece.start) <= size:
            yield piece
        else:
            yield from _by_words(text, piece, size) if unit is Unit.WORDS else _by_characters(text, piece, size)


def _sentences(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for border in _BORDER.finditer(text):
        yield start, border.end()
        start = border.end()
    yield start, len(text)


def _piece(text: str, start: int, end: int) -> _Piece | None:
    """What stands between the white space around it; None when there is nothing."""
    within = text[start:end]
    stripped = within.strip()
    if not stripped:
        return None
    begin = start + len(within) - len(within.lstrip())
    return _Piece(begin, begin + len(stripped), len(stripped.split()))


def _by_words(text: str, piece: _Piece, size: int) -> Iterator[_Piece]:
    words = list(_WORD.finditer(text, piece.start, piece.end))
    for index in range(0, len(words), size):
        group = words[index : index + size]
        yield _Piece(group[0].start(), group[-1].end(), len(group))


def _by_characters(text: str, piece: _Piece, size: int) -> Iterator[_Piece]:
    """Cut at the last white space that lets a part fit; a word that is longer than `size` is cut too."""
    start = piece.start
    while piece.end - start > size:
        spaces = [found.start() for found in re.finditer(r"\s", text[start : start + size + 1])]
        end = start + (spaces[-1] if spaces else size)
        yield _Piece(start, start + len(text[start:end].rstrip()), len(text[start:end].split()))
        start = _SPACE.match(text, end).end()  # type: ignore[union-attr]  # it matches nothing, too
    yield _Piece(start, piece.end, len(text[start : piece.end].split()))
