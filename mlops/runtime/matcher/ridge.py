"""Kernel ridge regression over the demos of one prompt: small enough to be solved again for each prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlops.runtime.matcher.features import Floats, Rows, SparseText, dense, hashed, weights_by_rarity

DEMOS_TO_WEIGH_WORDS = 8
STOP_WEIGHT_WITHOUT_DEMOS = 0.25

_DEMO_NOISE = 0.3
_LABEL_NOISE = 0.4  # a label's own words are weaker evidence than a demo
_LABEL_WORDS_WEIGHT = 0.5
_PRIOR_WEIGHT = 0.05


class Text:
    """A text to compare, hashed in both ways at most once."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._hashed: dict[float, SparseText] = {}

    def hashed(self, stop_weight: float) -> SparseText:
        """The text's columns and weights, see `features.hashed`."""
        if stop_weight not in self._hashed:
            self._hashed[stop_weight] = hashed(self._text, stop_weight=stop_weight)
        return self._hashed[stop_weight]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The demos as vectors, to find the closest one."""

    rows: Rows
    rarity: Floats | None

    @classmethod
    def of(cls, texts: Sequence[Text], others: Sequence[str] = ()) -> Neighbours:
        """The demos' texts, then other texts to be compared in the same way."""
        stop_weight = _stop_weight(len(texts))
        demos = [text.hashed(stop_weight) for text in texts]
        rarity = weights_by_rarity(demos) if len(texts) >= DEMOS_TO_WEIGH_WORDS else None
        return cls(Rows.of(demos + [hashed(text, stop_weight=stop_weight) for text in others], rarity), rarity)

    def similarities(self, text: Text) -> Floats:
        """Cosine with each row."""
        stop_weight = 1.0 if self.rarity is not None else STOP_WEIGHT_WITHOUT_DEMOS
        return self.rows.dot(dense(text.hashed(stop_weight), self.rarity))

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.rows.nbytes + (self.rarity.nbytes if self.rarity is not None else 0)


def _stop_weight(demos: int) -> float:
    return 1.0 if demos >= DEMOS_TO_WEIGH_WORDS else STOP_WEIGHT_WITHOUT_DEMOS


@dataclass(frozen=True, slots=True)
class Ranking:
    """Scores of all labels for one text."""

    scores: Floats
    demo_similarities: Floats


@dataclass(frozen=True, slots=True)
class LabelFit:
    """Scores labels: ridge over the demos, and over one made-up demo per label that holds the label's words."""

    neighbours: Neighbours
    label_words: Rows | None
    coefficients: Floats
    prior: Floats
    demos: int

    @classmethod
    def of(cls, texts: Sequence[Text], answers: Sequence[Sequence[int]], label_words: Sequence[str]) -> LabelFit:
        """`answers[i]` are the places of demo i's labels in `label_words` (several for multi-label lists)."""
        demos, labels = len(texts), len(label_words)
        neighbours = Neighbours.of(texts, label_words)
        targets = np.zeros((demos + labels, labels), np.float32)
        for row, places in enumerate(answers):
            targets[row, list(places)] = 1
        targets[demos:] = np.eye(labels, dtype=np.float32)
        noise = np.array([_DEMO_NOISE] * demos + [_LABEL_NOISE] * labels, np.float32)
        return cls(
            neighbours,
            Rows.of([hashed(text, stop_weight=STOP_WEIGHT_WITHOUT_DEMOS) for text in label_words]) if demos else None,
            np.linalg.solve(neighbours.rows.gram() + np.diag(noise), targets).astype(np.float32),
            (_PRIOR_WEIGHT * targets[:demos].sum(0) / max(1, demos)).astype(np.float32),
            demos,
        )

    def rank(self, text: Text) -> Ranking:
        """Scores for a text; near 1 for a label that fits as its own demos do."""
        similarities = self.neighbours.similarities(text)
        scores = similarities @ self.coefficients + self.prior
        if self.label_words is not None:
            by_words = self.label_words.dot(dense(text.hashed(STOP_WEIGHT_WITHOUT_DEMOS)))
            scores = scores + np.float32(_LABEL_WORDS_WEIGHT) * by_words
        return Ranking(scores, similarities[: self.demos])

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        label_words = self.label_words.nbytes if self.label_words is not None else 0
        return self.neighbours.nbytes + label_words + self.coefficients.nbytes + self.prior.nbytes


@dataclass(frozen=True, slots=True)
class NumberFit:
    """Predicts a number from the demos, and knows how well it does on demos that it has not seen."""

    neighbours: Neighbours
    coefficients: Floats
    mean: float
    explained: float

    @classmethod
    def of(cls, texts: Sequence[Text], numbers: Sequence[float]) -> NumberFit:
        """`explained` is the share of the variance predicted when each demo is left out in turn; <= 0: nothing."""
        neighbours = Neighbours.of(texts)
        values = np.array(numbers, np.float64)
        mean = float(values.mean())
        inverse = np.linalg.inv(neighbours.rows.gram().astype(np.float64) + _DEMO_NOISE * np.eye(len(values)))
        coefficients = inverse @ (values - mean)
        left_out_errors = coefficients / np.diag(inverse)
        variance = float(((values - mean) ** 2).sum()) or 1e-12
        explained = 1 - float((left_out_errors**2).sum()) / variance
        return cls(neighbours, coefficients.astype(np.float32), mean, explained)

    def predict(self, text: Text) -> tuple[float, Floats]:
        """The number for a text and its similarity to each demo."""
        similarities = self.neighbours.similarities(text)
        return self.mean + float(similarities @ self.coefficients), similarities

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.neighbours.nbytes + self.coefficients.nbytes
