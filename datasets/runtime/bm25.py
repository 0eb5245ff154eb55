"""Full-text ranking of a corpus that fits into memory: Okapi BM25."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

import bm25s
import numpy as np

# It sets its own level to DEBUG when it is imported.
logging.getLogger("bm25s").setLevel(logging.WARNING)

_WORD = re.compile(r"\w+")


def words_of(text: str) -> list[str]:
    """The words of any language that separates them; common ones weigh little by themselves, so none is left out."""
    return _WORD.findall(text.casefold())


class Index:
    """Passages that can be searched. It never changes after `build`, so threads may share it."""

    def __init__(self, ranking: bm25s.BM25 | None, size: int) -> None:
        self._ranking = ranking
        self._size = size

    @classmethod
    def build(cls, texts: Sequence[str]) -> Index:
        """Index `texts`; a passage is named by its position in them."""
        words = [words_of(text) for text in texts]
        if not any(words):
            return cls(None, len(texts))
        ranking = bm25s.BM25(method="lucene")
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
