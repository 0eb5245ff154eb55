"""Datasets and corpora as values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

NAME_PATTERN = r"^[a-z][a-z0-9_-]{0,62}$"

MAX_PASSAGES = 20_000
"""A corpus is indexed in the memory of each process that searches it."""

MAX_EXAMPLES = 100_000


class DatasetType(StrEnum):
    """What a dataset may be used for; only `test` says how good a program is."""

    TRAINING = "training"
    VALIDATION = "validation"
    TEST = "test"


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
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()
