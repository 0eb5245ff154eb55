"""Copies an answer out of a context: the sentence that shares most with the question, or a span of it.

Spans are ranked by a linear model with a prior of common sense (a year for "when", capitals for "who"), refined by
ridge regression on the demos of the prompt.
"""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from mlops.runtime.matcher.features import STOP_WORDS, Floats, words

MAX_CONTEXT_CHARACTERS = 400_000
MAX_SENTENCE_TOKENS = 120
MAX_SENTENCE_CHARACTERS = 1_500
MAX_SPAN_TOKENS = 8
SENTENCES_LOOKED_AT = 3

_STEM = 5
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n\s*\n")
_TOKEN = re.compile(r"[\w$£€%'\u2019.,-]*\w[\w%]*|[^\w\s]")
_YEAR = re.compile(r"1\d{3}|20\d\d")
_QUESTION_WORDS = ("who", "when", "where", "how many", "how much", "what year", "which", "what", "why", "how")

_PLACE = 9  # features of where the span stands
_SHAPE = 7  # features of what it looks like, weighed per question word
_WIDTH = _PLACE + _SHAPE * (len(_QUESTION_WORDS) + 1)


def _common_sense() -> Floats:
    weights = np.zeros(_WIDTH, np.float32)
    weights[:_PLACE] = (1, 0.3, 0.5, -0.3, -1, -0.3, -0.3, -0.6, -0.1)
    weights[_PLACE:] = np.tile((0, -0.1, 0.3, 0.3, 0.2, -0.25, 0), len(_QUESTION_WORDS) + 1)
    expected = {
        "who": (0, -0.6, 1, 0.6, 0.4, -0.3, -0.5),
        "when": (0, 1, 0.2, 0, 0.1, -0.2, 0.6),
        "what year": (0, 0.6, 0, 0, 0, -0.2, 1.5),
        "how many": (0, 1.3, -0.3, -0.3, 0, -0.25, -0.4),
        "how much": (0, 1.3, -0.3, -0.3, 0.1, -0.25, -0.4),
        "where": (0, -0.3, 0.8, 0.5, 0.3, -0.3, -0.5),
    }
    for word, shape in expected.items():
        weights[_shape_columns(_QUESTION_WORDS.index(word))] = shape
    return weights


def _shape_columns(question_word: int) -> slice:
    return slice(_PLACE + _SHAPE * question_word, _PLACE + _SHAPE * (question_word + 1))


_PRIOR = _common_sense()
_PRIOR_SHARE = np.float32(0.15)
_RIDGE = 12.0
_POSITIVE_COPIES = 6
_NEGATIVES = 60
_MAX_DEMOS = 48


@dataclass(frozen=True, slots=True)
class Example:
    """A demo to learn spans from."""

    context: str
    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of the context and how much it shares with the question (0: no word)."""

    text: str
    hit: float


@dataclass(frozen=True, slots=True)
class Spans:
    """All candidate spans of a few sentences, with their features."""

    texts: list[str]
    places: Floats
    shapes: Floats
    question_word: int

    def scores(self, weights: Floats) -> Floats:
        """The linear model's score of each span."""
        scores: Floats = self.places @ weights[:_PLACE] + self.shapes @ weights[_shape_columns(self.question_word)]
        return scores

    def full_features(self, rows: NDArray[np.int64]) -> Floats:
        """Features of some spans, one column per weight."""
        full = np.zeros((len(rows), _WIDTH), np.float32)
        full[:, :_PLACE] = self.places[rows]
        full[:, _shape_columns(self.question_word)] = self.shapes[rows]
        return full


def best_sentences(context: str, question: str) -> list[Sentence]:
    """The sentences that share most with the question, rare words first; the opening ones when nothing is asked."""
    sentences = _sentences(context[:MAX_CONTEXT_CHARACTERS])
    stems = _stems(question)
    holders: defaultdict[str, set[int]] = defaultdict(set)
    if stems:
        pattern = _stem_pattern(stems)
        for place, sentence in enumerate(sentences):
            for stem in pattern.findall(sentence.lower()):
                holders[stem[:_STEM]].add(place)
    hits = [0.0] * len(sentences)
    for places in holders.values():
        for place in places:
            hits[place] += math.log(1 + len(sentences) / len(places))
    order = sorted(range(len(sentences)), key=lambda place: -hits[place])[:SENTENCES_LOOKED_AT]
    return [Sentence(" ".join(sentences[place].split()), hits[place]) for place in order]


def _sentences(context: str) -> list[str]:
    """Sentences and paragraphs. One match at a time, so that a long context lets other threads run."""
    ends = [(match.start(), match.end()) for match in _SENTENCE_END.finditer(context)]
    starts = [0, *(end for _, end in ends)]
    stops = [*(start for start, _ in ends), len(context)]
    pieces = (context[start:stop].strip() for start, stop in zip(starts, stops, strict=True))
    return [part for piece in pieces if piece for part in _bounded(piece)]


def _bounded(sentence: str) -> Iterator[str]:
    """A text without full stops in parts that can be copied as a sentence, cut between words where there are any."""
    start = 0
    while len(sentence) - start > MAX_SENTENCE_CHARACTERS:
        blank = sentence.rfind(" ", start + 1, start + MAX_SENTENCE_CHARACTERS)
        stop = blank if blank > 0 else start + MAX_SENTENCE_CHARACTERS
        yield sentence[start:stop].strip()
        start = stop
    yield sentence[start:].strip()


def _stems(question: str) -> frozenset[str]:
    return frozenset(word[:_STEM] for word in words(question) if word not in STOP_WORDS)


def _stem_pattern(stems: frozenset[str]) -> re.Pattern[str]:
    """A short word must be met whole, a long one by its beginning."""
    ends = (re.escape(stem) + ("" if len(stem) == _STEM else r"(?![^\W_])") for stem in sorted(stems))
    return re.compile(rf"(?<![^\W_])(?:{'|'.join(ends)})")


def candidate_spans(sentences: Sequence[Sentence], question: str) -> Spans:
    """Spans of up to eight tokens that neither start nor end with a function word or a sign."""
    stems, best = _stems(question), max((sentence.hit for sentence in sentences), default=0.0) or 1.0
    texts: list[str] = []
    places, shapes = [np.zeros((0, _PLACE), np.float32)], [np.zeros((0, _SHAPE), np.float32)]
    for rank, sentence in enumerate(sentences):
        found, place, shape = _spans_of(sentence.text, stems)
        place[:, 0] = sentence.hit / best
        place[:, 1] = rank == 0
        texts += found
        places.append(place)
        shapes.append(shape)
    return Spans(texts, np.concatenate(places), np.concatenate(shapes), _question_word(question))


def _question_word(question: str) -> int:
    lower = question.lower()
    return next((place for place, word in enumerate(_QUESTION_WORDS) if word in lower), len(_QUESTION_WORDS))


def _spans_of(sentence: str, stems: frozenset[str]) -> tuple[list[str], Floats, Floats]:
    matches = list(islice(_TOKEN.finditer(sentence), MAX_SENTENCE_TOKENS))
    if not matches:
        return [], np.zeros((0, _PLACE), np.float32), np.zeros((0, _SHAPE), np.float32)
    tokens = [match.group() for match in matches]
    lower = [token.lower() for token in tokens]
    weak = np.array([token in STOP_WORDS or not token[0].isalnum() for token in lower])
    opening = ~weak | np.array([token in ("the", "$") for token in lower])
    asked = np.array([token[:_STEM] in stems for token in lower])
    first, last = _pairs(opening, weak)
    length = (last - first + 1).astype(np.float32)

    def share(flags: Sequence[bool] | NDArray[np.bool_]) -> Floats:
        sums = np.concatenate([[0], np.cumsum(np.asarray(flags))])
        counted: Floats = (sums[last + 1] - sums[first]).astype(np.float32) / length
        return counted

    after, before = np.append(weak, True)[last + 1], np.append(True, weak)[first]
    edges = after.astype(np.int64) + before
    overlap, capitals = share(asked), share([token[0].isupper() for token in tokens])
    asked_at = np.flatnonzero(asked) if asked.any() else np.zeros(1, np.int64)
    distance = np.abs(np.arange(len(tokens))[:, None] - asked_at[None, :]).min(axis=1) / 10
    year = np.array([bool(_YEAR.fullmatch(token)) for token in tokens])
    blank = np.zeros_like(length)
    places = [blank, blank, edges == 2, edges == 0, overlap, overlap > 0, distance[first]]
    places += [share([sign in ",;:()" for sign in tokens]) * length, np.array(lower)[first] == "the"]
    digits = share([any(sign.isdigit() for sign in token) for token in tokens]) > 0
    shapes = [blank + 1, digits, capitals, (capitals == 1) & (first > 0), length / 4, (length / 4) ** 2]
    shapes += [(length == 1) & year[first]]
    starts, ends = [match.start() for match in matches], [match.end() for match in matches]
    texts = [sentence[starts[a] : ends[b]] for a, b in zip(first.tolist(), last.tolist(), strict=True)]
    return texts, np.stack(places, 1).astype(np.float32), np.stack(shapes, 1).astype(np.float32)


def _pairs(opening: NDArray[np.bool_], weak: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    first = np.repeat(np.arange(len(opening)), MAX_SPAN_TOKENS)
    last = first + np.tile(np.arange(MAX_SPAN_TOKENS), len(opening))
    usable = (last < len(opening)) & opening[first] & ~np.append(weak, True)[np.minimum(last, len(opening))]
    return first[usable], last[usable]


def learn_weights(examples: Sequence[Example]) -> Floats:
    """Weights that tell the demos' answers from the other spans of their contexts."""
    rows, targets = [np.zeros((0, _WIDTH), np.float32)], [np.zeros(0, np.float32)]
    for example in examples[:_MAX_DEMOS]:
        features, wanted = _training_rows(example)
        rows.append(features)
        targets.append(wanted)
    inputs, outputs = np.concatenate(rows), np.concatenate(targets)
    if not len(inputs):
        return _PRIOR
    start = _PRIOR * _PRIOR_SHARE
    penalty = _RIDGE * np.eye(_WIDTH, dtype=np.float32)
    weights: Floats = start + np.linalg.solve(inputs.T @ inputs + penalty, inputs.T @ (outputs - inputs @ start))
    return weights.astype(np.float32)


def _training_rows(example: Example) -> tuple[Floats, Floats]:
    """The answer's own span several times with target 1, other spans with a little for the words they share."""
    spans = candidate_spans(best_sentences(example.context, example.question), example.question)
    answer = " ".join(example.answer.lower().split())
    answer_words = Counter(words(answer))
    right = [row for row, text in enumerate(spans.texts) if text.lower() == answer]
    shuffled = np.random.default_rng(zlib.crc32(answer.encode("utf-8", "surrogatepass"))).permutation(len(spans.texts))
    wrong = [int(row) for row in shuffled if int(row) not in right][:_NEGATIVES]
    targets = [1.0] * (len(right) * _POSITIVE_COPIES) + [0.3 * _f1(spans.texts[row], answer_words) for row in wrong]
    chosen = np.array(right * _POSITIVE_COPIES + wrong, np.int64)
    return spans.full_features(chosen), np.array(targets, np.float32)


def _f1(text: str, answer_words: Counter[str]) -> float:
    found = words(text)
    shared = sum((Counter(found) & answer_words).values())
    return 2 * shared / max(1, len(found) + sum(answer_words.values()))
