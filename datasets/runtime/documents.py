"""Documents of a file, and the passages that a corpus keeps of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from datasets.runtime.chunking import Unit, chunks
from datasets.runtime.reading import ReadOptions, RowProblem, examples_in
from datasets.runtime.reading.text import ESCAPED_BYTE, chunks_of
from datasets.types import FileFormat, PassageSpec
from mlops.sanitiser import problem_in

MAX_TITLE = 300
MAX_DOCUMENT = 5_000_000
"""Characters of one document of a text file."""

_FORM_FEED = "\f"
_HEADING = re.compile(r"\s*#{1,6}[ \t]+(?P<title>[^\n]*[^\n#\s])")
_TYPES = {"title": "string", "text": "string"}


@dataclass(frozen=True, slots=True)
class Document:
    """One document; `line` is where it begins, or its number where lines say nothing."""

    line: int
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Chunking:
    """How documents are cut: at most `size` units each, of which up to `overlap` repeat the one before."""

    size: int
    overlap: int = 0
    unit: Unit = Unit.WORDS


def documents_in(file: IO[bytes], options: ReadOptions, name: str) -> Iterator[Document | RowProblem]:
    """The documents of `file`, which is called `name`: of a text file what stands between form feeds, of all others
    the records with their `title` and `text`."""
    if options.format is FileFormat.TEXT:
        yield from _texts(file, options.encoding, name)
        return
    for item in examples_in(file, options, _TYPES):
        yield (
            item
            if isinstance(item, RowProblem)
            else _checked(Document(item.line, item.data.get("title") or "", item.data.get("text") or ""))
        )


def passages_of(document: Document, chunking: Chunking | None) -> list[PassageSpec]:
    """The passages of a document, each under its title."""
    if chunking is None:
        return [PassageSpec(document.title, document.text)]
    texts = chunks(document.text, size=chunking.size, overlap=chunking.overlap, unit=chunking.unit)
    return [PassageSpec(document.title, text) for text in texts]


def _texts(file: IO[bytes], encoding: str, name: str) -> Iterator[Document | RowProblem]:
    """Between form feeds, nothing that is blank; a title is the heading it begins with, or the name of the file."""
    line, rest = 1, ""
    for piece in chunks_of(file, encoding):
        *whole, rest = (rest + piece).split(_FORM_FEED)
        for text in whole:
            yield from _text(line, text, name)
            line += text.count("\n")
        if len(rest) > MAX_DOCUMENT:
            yield RowProblem(line, "text", "too_long", f"More than {MAX_DOCUMENT} characters.")
            return
    yield from _text(line, rest, name)


def _text(line: int, text: str, name: str) -> Iterator[Document | RowProblem]:
    if text.strip():
        heading = _HEADING.match(text)
        title = heading["title"].strip() if heading else name
        yield _checked(Document(line, title[:MAX_TITLE], text.strip()))


def _checked(document: Document) -> Document | RowProblem:
    if not document.text.strip():
        return RowProblem(document.line, "text", "blank", "A document has a text.")
    if len(document.title) > MAX_TITLE:
        return RowProblem(document.line, "title", "too_long", f"A title has at most {MAX_TITLE} characters.")
    for field in ("title", "text"):
        value = getattr(document, field)
        if byte := ESCAPED_BYTE.search(value):
            number = ord(byte.group()) - 0xDC00
            message = f"The byte 0x{number:02X} is no text in the file's encoding."
            return RowProblem(document.line, field, "undecodable", message)
        if problem := problem_in(value, field):
            return RowProblem(document.line, field, problem.code, problem.message)
    return document
