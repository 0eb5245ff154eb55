"""Full-text ranking of a corpus that fits into memory: Okapi BM25."""

from __future__ import annotations

import importlib
import logging
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

_WORD = re.compile(r"\w+")


def words_of(text: str) -> list[str]:
    """The words of any language that separates them; common ones weigh little by themselves, so none is left out."""
    return _WORD.findall(text.casefold())


def _library() -> Any:
    """bm25s, loaded by processes that search: it would add a fifth to the start of every process."""
    library = importlib.import_module("bm25s")
    logging.getLogger("bm25s").setLevel(logging.WARNING)  # it has just set its own level to DEBUG
    return library


class Index:
    """Passages that can be searched. It never changes after `build`, so threads may share it."""

    def __init__(self, ranking: Any | None, size: int) -> None:
        self._ranking = ranking
        self._size = size

    @classmethod
    def build(cls, texts: Sequence[str]) -> Index:
        """Index `texts`; a passage is named by its position in them."""
        words = [words_of(text) for text in texts]
        if not any(words):
            return cls(None, len(texts))
        ranking = _library().BM25(method="lucene")
        ranking.index(words, show_progress=False)
        return cls(ranking, len(texts))

    def __len__(self) -> int:
        return self._size

    def search(self, query: str, k: int) -> list[tuple[int, float]]:
        """The at most `k` passages that share a word with `query`, best first, as (position, score).

        Equal scores stand in the order of the passages, so that the same query always gets the same answer.
        """
        if self._ranking is None or k < 1:
            return []
        known = [word for word in words_of(query) if word in self._ranking.vocab_dict]
        if not known:
            return []
        scores = self._ranking.get_scores(known)
        best = np.argsort(-scores, kind="stable")[:k]
        return [(int(position), float(scores[position])) for position in best if scores[position] > 0]
