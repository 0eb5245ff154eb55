"""Kernel ridge regression over the demos of one prompt: small enough to be solved again for each prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlops.runtime.matcher.features import Floats, HashedText, Rows, dense, weights_by_rarity

DEMOS_TO_WEIGH_WORDS = 8

_DEMO_NOISE = 0.3
_LABEL_NOISE = 0.4  # a label's own words are weaker evidence than a demo
_LABEL_WORDS_WEIGHT = 0.5
_PRIOR_WEIGHT = 0.05


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The demos as vectors, to find the closest one."""

    rows: Rows
    rarity: Floats | None

    @classmethod
    def of(cls, texts: Sequence[HashedText], others: Sequence[HashedText] = ()) -> Neighbours:
        """The demos' texts, then other texts to be compared in the same way."""
        rows = [*texts, *others]
        if len(texts) < DEMOS_TO_WEIGH_WORDS:
            return cls(Rows.of([text.topical for text in rows]), None)
        rarity = weights_by_rarity([text.whole for text in texts])
        return cls(Rows.of([text.whole for text in rows], rarity), rarity)

    def similarities(self, text: HashedText) -> Floats:
        """Cosine with each row."""
        return self.rows.dot(dense(text.topical if self.rarity is None else text.whole, self.rarity))

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.rows.nbytes + (self.rarity.nbytes if self.rarity is not None else 0)


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
    def of(cls, texts: Sequence[HashedText], answers: Sequence[Sequence[int]], label_words: Sequence[str]) -> LabelFit:
        """`answers[i]` are the places of demo i's labels in `label_words` (several for multi-label lists)."""
        demos, labels = len(texts), len(label_words)
        hashed_labels = [HashedText(text) for text in label_words]
        neighbours = Neighbours.of(texts, hashed_labels)
        targets = np.zeros((demos + labels, labels), np.float32)
        for row, places in enumerate(answers):
            targets[row, list(places)] = 1
        targets[demos:] = np.eye(labels, dtype=np.float32)
        noise = np.array([_DEMO_NOISE] * demos + [_LABEL_NOISE] * labels, np.float32)
        return cls(
            neighbours,
            Rows.of([text.topical for text in hashed_labels]) if demos else None,
            np.linalg.solve(neighbours.rows.gram() + np.diag(noise), targets).astype(np.float32),
            (_PRIOR_WEIGHT * targets[:demos].sum(0) / max(1, demos)).astype(np.float32),
            demos,
        )

    def rank(self, text: HashedText) -> Ranking:
        """Scores for a text; near 1 for a label that fits as its own demos do."""
        similarities = self.neighbours.similarities(text)
        scores = similarities @ self.coefficients + self.prior
        if self.label_words is not None:
            by_words = self.label_words.dot(dense(text.topical))
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
    def of(cls, texts: Sequence[HashedText], numbers: Sequence[float]) -> NumberFit:
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

    def predict(self, text: HashedText) -> tuple[float, Floats]:
        """The number for a text and its similarity to each demo."""
        similarities = self.neighbours.similarities(text)
        return self.mean + float(similarities @ self.coefficients), similarities

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.neighbours.nbytes + self.coefficients.nbytes
