"""Bytes of a file as text, in bounded pieces.

Bytes that are no text in the file's encoding come out as lone surrogates (PEP 383), which no valid file contains: the
structure around them is still read, and the check of the record reports them with line and field. Nothing is replaced.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from datasets.runtime.reading.records import MAX_RECORD

ENCODINGS = ("utf-8", "utf-16", "latin-1", "cp1252")
CHUNK = 65_536

ESCAPED_BYTE = re.compile("[\udc80-\udcff]")
"""A byte that could not be decoded."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line with its end. Of one that is too long only its number is kept."""

    number: int
    text: str
    is_too_long: bool = False


def chunks_of(file: IO[bytes], encoding: str = "") -> Iterator[str]:
    """The text of `file`. Without an `encoding` it is UTF-8, or UTF-16 if it begins with the mark of that.

    UTF-16 without the mark is little-endian, as Windows writes it.
    """
    begin = file.read(CHUNK)
    is_marked = begin.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    name = encoding or ("utf-16" if is_marked else "utf-8")
    decoder = _decoder("utf-16-le" if name == "utf-16" and not is_marked else name)
    while begin:
        yield decoder.decode(begin)
        begin = file.read(CHUNK)
    try:
        yield decoder.decode(b"", True)
    except UnicodeDecodeError as error:
        # half a character at the very end
        yield "".join(chr(0xDC00 + (byte | 0x80)) for byte in error.object[error.start :])


def _decoder(name: str) -> codecs.IncrementalDecoder:
    if name.startswith("utf-16"):
        return codecs.getincrementaldecoder(name)("surrogatepass")
    return codecs.getincrementaldecoder("utf-8-sig" if name == "utf-8" else name)("surrogateescape")


def lines_of(file: IO[bytes], encoding: str = "") -> Iterator[Line]:
    """The lines of `file`, each of at most `MAX_RECORD` characters."""
    number, rest, is_too_long = 0, "", False
    for chunk in chunks_of(file, encoding):
        *whole, rest = (rest + chunk).split("\n")
        for text in whole:
            number += 1
            is_too_long = is_too_long or len(text) > MAX_RECORD
            yield Line(number, "\n" if is_too_long else f"{text}\n", is_too_long)
            is_too_long = False
        if len(rest) > MAX_RECORD:
            rest, is_too_long = "", True
    if rest or is_too_long:
        yield Line(number + 1, "" if is_too_long else rest, is_too_long)
