"""Ways to fill one field, as learned from one prompt. They keep matrices and positions, no text of any prompt."""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mlops.runtime.matcher.case import Case
from mlops.runtime.matcher.errors import CannotMatch
from mlops.runtime.matcher.features import Floats, words
from mlops.runtime.matcher.fields import OutputField
from mlops.runtime.matcher.labels import labels_in_words, listed_labels
from mlops.runtime.matcher.refusals import refuse_arithmetic, refuse_prose
from mlops.runtime.matcher.ridge import LabelFit, NumberFit
from mlops.runtime.matcher.spans import Sentence, best_sentences, candidate_spans

Value = str | list[str] | int | float | bool

_LABEL_NOISE = 0.1
_SPAN_NOISE = 0.05
_LABEL_THRESHOLD = 0.35
_MAX_LABELS = 6
_FEWEST_CONTEXT_WORDS = 5
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_ISO_DATE = re.compile(r"(?<![\d-])\d{4}-\d{2}-\d{2}(?![\d-])")


@dataclass(frozen=True, slots=True)
class Answer:
    """A value and how it was found."""

    value: Value
    account: str


class Strategy(Protocol):
    """Fills one field."""

    def answer(self, field: OutputField, case: Case) -> Answer:
        """The field's value. Raises CannotMatch."""

    @property
    def nbytes(self) -> int:
        """Bytes held."""


class LabelSource(enum.Enum):
    """Where the labels stand in the prompt."""

    OPTIONS = "allowed values"
    WORDS = "description or instructions"
    DEMOS = "answers of the demos"


@dataclass(frozen=True, slots=True)
class Labels:
    """How to find a label's text again: the allowed values, or (demo, position in its list) of its first use."""

    source: LabelSource
    uses: tuple[tuple[int, int], ...] = ()

    def text(self, place: int, field: OutputField, case: Case) -> str:
        """The label at a place of the fit."""
        if self.source is LabelSource.OPTIONS:
            return field.options[place]
        if self.source is LabelSource.WORDS:
            return labels_in_words(field, case.task)[place]
        demo, item = self.uses[place]
        value = case.demo(demo).outputs[field.name]
        return value if item < 0 else listed_labels(value)[item]


@dataclass(frozen=True, slots=True)
class ChooseLabel:
    """The label with the highest score."""

    fit: LabelFit
    labels: Labels
    demos: tuple[int, ...]

    def answer(self, field: OutputField, case: Case) -> Answer:
        """One label."""
        ranking = self.fit.rank(case.text)
        noisy = ranking.scores + np.array(case.noise(len(ranking.scores), _LABEL_NOISE), np.float32)
        place = int(np.argmax(noisy))
        label = self.labels.text(place, field, case)
        if _NUMBER.fullmatch(label):
            refuse_arithmetic(field, case.asked, has_context=False)
        score = float(ranking.scores[place])
        account = _account(field, case, (self.demos, ranking.demo_similarities), score, repr(label))
        return Answer(label == "True" if field.is_boolean else label, account)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.fit.nbytes + 64 * (len(self.demos) + len(self.labels.uses))


@dataclass(frozen=True, slots=True)
class ChooseLabels:
    """All labels whose score says that they fit."""

    fit: LabelFit
    labels: Labels
    demos: tuple[int, ...]
    may_be_empty: bool

    def answer(self, field: OutputField, case: Case) -> Answer:
        """A list of labels, best first."""
        ranking = self.fit.rank(case.text)
        noisy = ranking.scores + np.array(case.noise(len(ranking.scores), _LABEL_NOISE), np.float32)
        order = [int(place) for place in np.argsort(-noisy, kind="stable")]
        places = [place for place in order if self.demos and noisy[place] > _LABEL_THRESHOLD][:_MAX_LABELS]
        if not places and not self.may_be_empty:
            places = order[:1]
        chosen = [self.labels.text(place, field, case) for place in places]
        score = float(ranking.scores[order[0]])
        return Answer(chosen, _account(field, case, (self.demos, ranking.demo_similarities), score, repr(chosen)))

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.fit.nbytes + 64 * (len(self.demos) + len(self.labels.uses))


@dataclass(frozen=True, slots=True)
class PredictNumber:
    """A number between those of similar demos."""

    fit: NumberFit
    demos: tuple[int, ...]
    lowest: float
    highest: float

    def answer(self, field: OutputField, case: Case) -> Answer:
        """A number within the range of the demos."""
        refuse_arithmetic(field, case.asked, has_context=False)
        number, similarities = self.fit.predict(case.text)
        number = min(max(number, self.lowest), self.highest)
        value = round(number) if field.is_integer else round(number, 3)
        return Answer(value, _account(field, case, (self.demos, similarities), self.fit.explained, str(value)))

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.fit.nbytes + 64 * len(self.demos)


@dataclass(frozen=True, slots=True)
class CopyText:
    """A span of the context when demos answer with spans (`weights`), else its closest sentence."""

    weights: Floats | None

    def answer(self, field: OutputField, case: Case) -> Answer:
        """Text that stands in the context, word for word."""
        context, question = case.context_and_question
        self._check(field, case, context, question)
        sentences = best_sentences(context, question)
        if question and not any(sentence.hit for sentence in sentences):
            raise CannotMatch("no sentence of the context shares a word with the question.", field=field.name)
        if self.weights is not None and (span := self._best_span(sentences, question, case, self.weights)):
            return Answer(span, f"`{field.name}`: copied {span!r} from the input, most like the examples' answers.")
        shared = f"shares most words with the question (score {sentences[0].hit:.2f})"
        return Answer(sentences[0].text, f"`{field.name}`: copied the sentence of the input that {shared}.")

    def _check(self, field: OutputField, case: Case, context: str, question: str) -> None:
        if self.weights is None:
            refuse_prose(field, case.task, case.asked)
        has_context = len(words(context[:1000])) >= _FEWEST_CONTEXT_WORDS
        refuse_arithmetic(field, case.asked, has_context=has_context and bool(question))
        if self.weights is None and not question:
            raise CannotMatch("free text needs a context to copy from, or demos with short answers.", field=field.name)
        if not has_context:
            raise CannotMatch("the context holds no sentence to copy.", field=field.name)

    @staticmethod
    def _best_span(sentences: Sequence[Sentence], question: str, case: Case, weights: Floats) -> str | None:
        spans = candidate_spans(sentences, question)
        if not spans.texts:
            return None
        scores = spans.scores(weights) + np.array(case.noise(len(spans.texts), _SPAN_NOISE), np.float32)
        return spans.texts[int(np.argmax(scores))]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return 0 if self.weights is None else self.weights.nbytes


@dataclass(frozen=True, slots=True)
class CopyDate:
    """The one ISO date of the inputs."""

    nbytes: int = 0

    def answer(self, field: OutputField, case: Case) -> Answer:
        """A date as `YYYY-MM-DD`."""
        found = {date for value in case.inputs.values() for date in _ISO_DATE.findall(value)}
        if len(found) != 1:
            reason = f"it copies a date only when the input holds exactly one as YYYY-MM-DD, not {len(found)}."
            raise CannotMatch(reason, field=field.name)
        date = found.pop()
        return Answer(date, f"`{field.name}`: copied {date}, the only date of the input.")


def _account(field: OutputField, case: Case, closest: tuple[Sequence[int], Floats], score: float, chosen: str) -> str:
    """How a value was found, in one line; `closest` are the demos compared with and their similarities."""
    demos, similarities = closest
    if not len(similarities):
        if score <= 0:
            return f"`{field.name}`: no examples, and no option shares wording with the input; {chosen} is a guess."
        return f"`{field.name}`: no examples; {chosen} shares most wording with the input (score {score:.2f})."
    row = int(np.argmax(similarities))
    given = case.demo(demos[row]).outputs[field.name]
    return (
        f"`{field.name}`: the closest of {len(demos)} examples ({similarities[row]:.2f} similar) is"
        f" {case.quote(demos[row])}, answered {given[:80]!r}. Over all examples {chosen} fits best (score {score:.2f})."
    )
