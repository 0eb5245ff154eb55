"""Text as numbers: hashed words, word pairs and pieces of words, kept sparse; and the count of tokens."""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

COLUMNS = 8192
MAX_WORDS = 400
MAX_CHARACTERS = 16_000

_STOP_WORDS = """
a about all am an and any are as at be been being but by can could did do does doing for from had has have having he
her him his how i if in into is it its just me my no not now of on or our out she should so some than that the their
them then there these they this to too up us was we were what when where which who whom why will with would you your
s t m re ve d ll im please
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())

_WORD = re.compile(r"[^\W_]+")
_JOINTS = re.compile(r"(?<=[a-z])(?=[A-Z])|[_\-/.]+")
_LONG_NUMBER = re.compile(r"\d{4,}")
_TELLING_SIGN = re.compile(r"[?!$£€%]")
_COUNTED = re.compile(r"[0-9A-Za-z_\x80-\u2e7f]+|[\u2e80-\U0010ffff]|[!-~]")
_TOPICAL_STOP_WEIGHT = np.float32(0.5)  # of square-rooted counts


class SparseText(NamedTuple):
    """The columns a text touches and its weight in each."""

    columns: Integers
    weights: Floats


def words(text: str) -> list[str]:
    """Lower-case words and numbers."""
    return _WORD.findall(text.lower())


def split_identifier(text: str) -> str:
    """`card_arrival` and `cardArrival` as the words they are made of."""
    return _JOINTS.sub(" ", text)


def count_tokens(text: str) -> int:
    """Words (runs of letters, digits and underscores) and single other visible signs; each ideograph counts as one."""
    return sum(1 for _ in _COUNTED.finditer(text))  # one by one, so that a long text lets other threads run


class HashedText:
    """A text as hashed counts, square-rooted: words, their pairs and pieces, and its opening words."""

    def __init__(self, text: str) -> None:
        text = text[:MAX_CHARACTERS]
        plain: defaultdict[str, float] = defaultdict(float)
        weak: defaultdict[str, float] = defaultdict(float)
        listed = words(split_identifier(text))[:MAX_WORDS]
        before, before_is_stop = "", False
        for word in listed:
            is_stop = word in STOP_WORDS
            (weak if is_stop else plain)[word] += 1.0
            if before:
                (weak if is_stop and before_is_stop else plain)[f"{before} {word}"] += 0.6
            if not is_stop:
                for piece in _pieces(word):
                    plain[piece] += 0.15
            before, before_is_stop = word, is_stop
        for sign in _TELLING_SIGN.findall(text):
            plain[sign] += 0.3
        if _LONG_NUMBER.search(text):
            plain["#longnum"] += 0.7
        opening = {"^" + listed[0]: 0.8, "^" + " ".join(listed[:2]) + " ": 0.8} if listed else {}
        self._plain, self._weak, self._opening = _sparse(plain), _sparse(weak), _sparse(opening)

    @cached_property
    def whole(self) -> SparseText:
        """With function words and openings in full, for where demos can weigh them: they carry question types."""
        parts = (self._plain, self._weak, self._opening)
        columns = np.concatenate([part.columns for part in parts])
        return SparseText(columns, np.concatenate([part.weights for part in parts]))

    @cached_property
    def topical(self) -> SparseText:
        """With little of the function words, for where nothing weighs them: they would drown the topic."""
        columns = np.concatenate([self._plain.columns, self._weak.columns])
        return SparseText(columns, np.concatenate([self._plain.weights, self._weak.weights * _TOPICAL_STOP_WEIGHT]))


def weights_by_rarity(texts: Sequence[SparseText]) -> Floats:
    """How much each column tells, from how few of the texts touch it."""
    touched = np.zeros(COLUMNS, np.float32)
    for text in texts:
        touched[np.unique(text.columns)] += 1
    rarity: Floats = (np.log((len(texts) + 2) / (touched + 1)) + 0.2).astype(np.float32) ** np.float32(0.6)
    return rarity


def dense(text: SparseText, rarity: Floats | None = None) -> Floats:
    """The text as one unit vector over all columns."""
    vector = np.zeros(COLUMNS, np.float32)
    np.add.at(vector, text.columns, text.weights)
    if rarity is not None:
        vector *= rarity
    return vector / np.float32(float(np.linalg.norm(vector)) + 1e-9)


@dataclass(frozen=True, slots=True)
class Rows:
    """Unit vectors of many texts, non-zero entries only: a few hundred bytes to a few KB each."""

    starts: Integers
    columns: NDArray[np.uint16]
    weights: Floats

    @classmethod
    def of(cls, texts: Sequence[SparseText], rarity: Floats | None = None) -> Rows:
        """Rows in the order of the texts. Each keeps at least one entry, so that every row has a sum."""
        columns, weights, lengths = [], [], []
        for text in texts:
            vector = dense(text, rarity)
            touched = np.flatnonzero(vector)
            touched = touched if touched.size else np.zeros(1, np.int64)
            columns.append(touched.astype(np.uint16))
            weights.append(vector[touched])
            lengths.append(touched.size)
        starts = np.concatenate([[0], np.cumsum(lengths[:-1])]).astype(np.int64)
        return cls(starts, np.concatenate(columns), np.concatenate(weights))

    def dot(self, vector: Floats) -> Floats:
        """Cosine of each row with a dense unit vector."""
        products: Floats = np.add.reduceat(vector[self.columns] * self.weights, self.starts)
        return products

    def gram(self) -> Floats:
        """Cosine of each row with each other row; not by BLAS, whose threads stall each other on a busy machine."""
        ends = np.append(self.starts[1:], self.columns.size)
        product = np.empty((len(self.starts), len(self.starts)), np.float32)
        vector = np.zeros(COLUMNS, np.float32)
        for row, (start, end) in enumerate(zip(self.starts.tolist(), ends.tolist(), strict=True)):
            vector[self.columns[start:end]] = self.weights[start:end]
            product[row] = self.dot(vector)
            vector[self.columns[start:end]] = 0
        return product

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.starts.nbytes + self.columns.nbytes + self.weights.nbytes


def _pieces(word: str) -> list[str]:
    """Pieces of 3 to 5 signs of `<word>`; scripts without blanks need shorter ones."""
    if word.isascii() and len(word) <= 2:
        return []
    edged, sizes = f"<{word}>", (3, 4, 5) if word.isascii() else (1, 2, 3)
    return ["#" + edged[at : at + size] for size in sizes for at in range(len(edged) - size + 1)]


def _sparse(counts: dict[str, float]) -> SparseText:
    codes = np.fromiter((zlib.crc32(key.encode("utf-8", "surrogatepass")) for key in counts), np.int64, len(counts))
    weights = np.sqrt(np.fromiter(counts.values(), np.float32, len(counts)))
    signs = np.where(codes & 0x10000, np.float32(1), np.float32(-1))
    return SparseText(codes % COLUMNS, weights * signs)
