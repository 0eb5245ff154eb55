"""Datasets and corpora as values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

NAME_PATTERN = r"^[a-z][a-z0-9_-]{0,62}$"

MAX_PASSAGES = 20_000
"""A corpus is indexed in the memory of each process that searches it."""

MAX_EXAMPLES = 100_000


class DatasetType(StrEnum):
    """What a dataset may be used for; only `test` says how good a program is."""

    TRAINING = "training"
    VALIDATION = "validation"
    TEST = "test"


class VersionState(StrEnum):
    """Whether the content of a version is all there."""

    IMPORTING = "importing"
    READY = "ready"


class ImportKind(StrEnum):
    """What an uploaded file becomes."""

    DATASET = "dataset"
    CORPUS = "corpus"


class FileFormat(StrEnum):
    """Kinds of files that are imported; plain text only into corpora. Datasets are exported as the first five."""

    CSV = "csv"
    TSV = "tsv"
    JSON = "json"
    JSONL = "jsonl"
    PARQUET = "parquet"
    TEXT = "text"


class Duplicates(StrEnum):
    """What an import does with a record whose content it has met before; either way it reports it."""

    KEEP = "keep"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class PassageSpec:
    """One document of a corpus."""

    title: str
    text: str

    @property
    def as_text(self) -> str:
        """What is searched and what a program reads: `title: text`."""
        return f"{self.title}: {self.text}" if self.title else self.text


def digest_of(value: Any) -> str:
    """SHA-256 of the canonical JSON of `value`."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def digest_of_all(digests: Iterable[str]) -> str:
    """SHA-256 over the digests of rows in their order: equal content has an equal hash on every installation."""
    content = ContentHash()
    for digest in digests:
        content.add(digest)
    return content.hexdigest()


class ContentHash:
    """`digest_of_all` for digests that come one after the other."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.count = 0

    def add(self, digest: str) -> None:
        self._hash.update(f"\n{digest}".encode() if self.count else digest.encode())
        self.count += 1

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


class Search(StrEnum):
    """How passages are found: by their words, by their meaning, or by both."""

    BM25 = "bm25"
    VECTOR = "vector"
    HYBRID = "hybrid"


@dataclass(frozen=True, slots=True)
class Overlap:
    """What a dataset has in common with another: different examples that are in both, and their share of the first's.

    A `sealed` one is a test set, which nothing may be trained on.
    """

    dataset_id: UUID
    name: str
    type: str
    version: int
    size: int
    sealed: bool
    shared: int
    share: float


@dataclass(frozen=True, slots=True)
class FoundPassage:
    """A passage that a search found. Scores of different searches cannot be compared."""

    id: UUID
    position: int
    title: str
    text: str
    score: float
