"""Chooses a way to fill each field of a prompt and fits it on the prompt's demos."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from mlops.runtime.matcher.case import compared_text, context_and_question
from mlops.runtime.matcher.errors import CannotMatch
from mlops.runtime.matcher.features import Floats, HashedText, count_tokens
from mlops.runtime.matcher.fields import Kind, OutputField
from mlops.runtime.matcher.labels import labels_in_words, listed_labels, words_of_labels
from mlops.runtime.matcher.prompt import Demo, Prompt, Task, read_demo, readable
from mlops.runtime.matcher.ridge import LabelFit, NumberFit
from mlops.runtime.matcher.spans import Example, learn_weights
from mlops.runtime.matcher.strategies import (
    ChooseLabel,
    ChooseLabels,
    CopyDate,
    CopyText,
    Labels,
    LabelSource,
    PredictNumber,
    Strategy,
)

_NUMBERS_DO_NOT_FOLLOW = "the numbers of the demos do not follow from their wording, and it does no arithmetic."
_DECIMAL = re.compile(r"-?\d{1,15}(\.\d{1,15})?")
_COPIED_SHARE = 0.8
_REUSED_SHARE = 0.5
_SHORT_WORDS = 6
_SPAN_WORDS = 12
_FEW_DEMOS = 8
_MOST_LABELS = 500
_EXPLAINED = 0.5  # sums of random numbers reach 0.3, since texts share digits
_EXPLAINED_OF_SCALE = 0.0


@dataclass(frozen=True, slots=True)
class Lesson:
    """What one prompt teaches: a strategy per output field. `tokens` are those of the system message and the demos."""

    strategies: dict[str, Strategy]
    tokens: int

    @property
    def nbytes(self) -> int:
        """Bytes held, roughly: arrays exactly, the objects around them at a flat rate."""
        return 2_000 + sum(2_000 + strategy.nbytes for strategy in self.strategies.values())


@dataclass(frozen=True, slots=True)
class _Teaching:
    """The demos that supply one field."""

    field: OutputField
    task: Task
    demos: tuple[Demo, ...]
    places: tuple[int, ...]
    texts: tuple[HashedText, ...]

    @property
    def answers(self) -> list[str]:
        return [demo.outputs[self.field.name] for demo in self.demos]


def learn(task: Task, prompt: Prompt) -> Lesson:
    """Reads and fits all demos of a prompt. Raises CannotMatch for a field that no strategy fits."""
    demos = [read_demo(turn, task) for turn in prompt.turns]
    texts = [compared_text(demo.inputs) for demo in demos]
    strategies = {}
    for field in task.outputs.values():
        if field.kind is not Kind.REASONING:
            places = tuple(place for place, demo in enumerate(demos) if field.name in demo.outputs)
            supplied = tuple(demos[place] for place in places)
            strategies[field.name] = _strategy(
                _Teaching(field, task, supplied, places, tuple(texts[place] for place in places))
            )
    return Lesson(strategies, count_tokens(prompt.lesson_text))


def _strategy(teaching: _Teaching) -> Strategy:
    match teaching.field.kind:
        case Kind.CHOICE:
            return _choose(teaching, teaching.field.options, Labels(LabelSource.OPTIONS))
        case Kind.CHOICES:
            return _choose_several(teaching)
        case Kind.NUMBER:
            return _number(teaching)
        case Kind.DATE:
            return CopyDate()
        case _:
            return _text(teaching)


def _choose(teaching: _Teaching, labels: Sequence[str], found_at: Labels) -> ChooseLabel:
    at = {label: place for place, label in enumerate(labels)}
    answers = [[at[answer]] if answer in at else [] for answer in teaching.answers]
    fit = LabelFit.of(teaching.texts, answers, words_of_labels(teaching.field, teaching.task, labels))
    return ChooseLabel(fit, found_at, teaching.places)


def _choose_several(teaching: _Teaching) -> ChooseLabels:
    lists = [listed_labels(answer) for answer in teaching.answers]
    labels, found_at = teaching.field.options, Labels(LabelSource.OPTIONS)
    if not labels:
        first_uses: dict[str, tuple[int, int]] = {}
        for place, listed in zip(teaching.places, lists, strict=True):
            for item, label in enumerate(listed):
                first_uses.setdefault(label, (place, item))
        total = sum(len(listed) for listed in lists)
        if not first_uses or len(first_uses) > _REUSED_SHARE * total or len(first_uses) > _MOST_LABELS:
            reason = "a list of strings needs allowed values, or demos that use the same labels again and again."
            raise CannotMatch(reason, field=teaching.field.name)
        labels, found_at = tuple(first_uses), Labels(LabelSource.DEMOS, tuple(first_uses.values()))
    at = {label: place for place, label in enumerate(labels)}
    answers = [[at[label] for label in listed if label in at] for listed in lists]
    fit = LabelFit.of(teaching.texts, answers, words_of_labels(teaching.field, teaching.task, labels))
    return ChooseLabels(fit, found_at, teaching.places, may_be_empty=any(not listed for listed in lists))


def _number(teaching: _Teaching) -> PredictNumber:
    rows = [row for row, answer in enumerate(teaching.answers) if _DECIMAL.fullmatch(answer)]
    if not rows:
        raise CannotMatch("a number needs demos that give numbers; it does no arithmetic.", field=teaching.field.name)
    numbers = [float(teaching.answers[row]) for row in rows]
    fit = NumberFit.of([teaching.texts[row] for row in rows], numbers)
    is_scale = all(number.is_integer() and 0 <= number <= 10 for number in numbers)
    follows = fit.explained >= (_EXPLAINED_OF_SCALE if is_scale else _EXPLAINED)
    if not follows and not (is_scale and len(rows) < _FEW_DEMOS):
        raise CannotMatch(_NUMBERS_DO_NOT_FOLLOW, field=teaching.field.name)
    return PredictNumber(fit, tuple(teaching.places[row] for row in rows), min(numbers), max(numbers))


def _text(teaching: _Teaching) -> Strategy:
    """Labels when the demos' answers are labels, copying when they stand in the inputs, else a refusal."""
    answers = teaching.answers
    if not answers:
        labels = labels_in_words(teaching.field, teaching.task)
        return _choose(teaching, labels, Labels(LabelSource.WORDS)) if labels else CopyText(None)
    distinct, length = len(set(answers)), fmean(len(answer.split()) for answer in answers)
    is_reused = distinct <= _REUSED_SHARE * len(answers)
    if not is_reused and fmean(map(_stands_in_inputs, teaching.demos, answers)) >= _COPIED_SHARE:
        return CopyText(_span_weights(teaching) if length <= _SPAN_WORDS else None)
    is_short = length <= _SHORT_WORDS and (len(answers) < _FEW_DEMOS or distinct <= _COPIED_SHARE * len(answers))
    if not is_reused and all(_DECIMAL.fullmatch(answer) for answer in answers):
        raise CannotMatch(_NUMBERS_DO_NOT_FOLLOW, field=teaching.field.name)
    if (is_reused or is_short) and distinct <= _MOST_LABELS:
        first_uses = {answer: place for place, answer in reversed([*zip(teaching.places, answers, strict=True)])}
        uses = tuple((place, -1) for place in first_uses.values())
        return _choose(teaching, tuple(first_uses), Labels(LabelSource.DEMOS, uses))
    reason = "the demos' answers are neither labels used again nor copied from the inputs, and it writes no text."
    raise CannotMatch(reason, field=teaching.field.name)


def _stands_in_inputs(demo: Demo, answer: str) -> bool:
    wanted = " ".join(answer.lower().split())
    return any(wanted in " ".join(readable(value).lower().split()) for value in demo.inputs.values())


def _span_weights(teaching: _Teaching) -> Floats:
    pairs = zip(teaching.demos, teaching.answers, strict=True)
    return learn_weights([Example(*context_and_question(demo.inputs), answer) for demo, answer in pairs])
