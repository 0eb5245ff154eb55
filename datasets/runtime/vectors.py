"""Search by meaning in a corpus that fits into memory: dot products of normalised vectors, and fusion of rankings."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Ranking = list[tuple[int, float]]
Key = TypeVar("Key", bound=Hashable)

STORED = np.dtype("<f4")
"""How a vector is kept: float32, little-endian, on every machine."""

FUSION = 60
"""The constant of reciprocal rank fusion (Cormack et al. 2009): how little the first place counts above the second."""


def to_bytes(vector: Vectors) -> bytes:
    """A vector as it is stored."""
    return vector.astype(STORED).tobytes()


def matrix_of(stored: Iterable[bytes | memoryview], dimensions: int) -> Vectors:
    """Stored vectors as the rows of one matrix. Raises ValueError when one of them has another length."""
    rows = bytearray()
    for vector in stored:
        if len(vector) != dimensions * STORED.itemsize:
            raise ValueError(f"A vector of {len(vector)} bytes is not one of {dimensions} numbers.")
        rows += vector
    return np.frombuffer(rows, dtype=STORED).astype(np.float32, copy=False).reshape(-1, dimensions)


def nearest(matrix: Vectors, vector: Vectors, k: int) -> Ranking:
    """The at most `k` rows nearest to `vector`, best first, as (position, cosine); equal ones in their order.

    Raises ValueError when `vector` has another length than the rows.
    """
    if vector.shape != (matrix.shape[1],):
        raise ValueError(f"The query has {vector.shape[0]} dimensions, the corpus {matrix.shape[1]}.")
    if k < 1 or not len(matrix):
        return []
    scores = matrix @ vector
    if k < len(scores):
        bound = np.partition(scores, len(scores) - k)[len(scores) - k]
        candidates = np.flatnonzero(scores >= bound)
    else:
        candidates = np.arange(len(scores))
    best = candidates[np.argsort(-scores[candidates], kind="stable")[:k]]
    return [(int(position), float(scores[position])) for position in best]


def fused(rankings: Sequence[Ranking], k: int) -> Ranking:
    """The at most `k` best of several rankings by reciprocal rank fusion: places count, scores do not."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for place, (position, _score) in enumerate(ranking, 1):
            scores[position] = scores.get(position, 0.0) + 1.0 / (FUSION + place)
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:k]


class MatrixCache(Generic[Key]):
    """Matrices of this process, the least used ones leave when there are more than `limit` bytes. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[Key, Vectors] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Bytes that are kept."""
        return sum(matrix.nbytes for matrix in self._kept.values())

    def get_or_load(self, key: Key, load: Callable[[], Vectors]) -> Vectors:
        """The matrix of `key`; one that is larger than the limit by itself is handed out and not kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        matrix = load()
        with self._lock:
            self._kept[key] = matrix
            while self.size > self._limit:
                self._kept.popitem(last=False)
        return matrix
