"""Metrics that compare a field of the output with what the example expects, without asking anybody."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from executions.runtime.metrics.base import Scorer
from executions.runtime.metrics.configs import (
    AlternativesConfig,
    ContainsConfig,
    FieldRule,
    JsonFieldsConfig,
    NormalisedConfig,
    NumericConfig,
    SetF1Config,
    TokenF1Config,
)
from executions.runtime.metrics.failures import MetricFailed
from executions.runtime.metrics.looking import expected_in, given_in
from executions.runtime.metrics.texts import agree, folded, normalised, number_in, shown, text_of, token_f1
from executions.runtime.metrics.values import UNIT, Score
from executions.types import MetricKind

NOTHING = "nothing"


class ComparesAnswers(Scorer):
    """Compares one answer with the expected one, or with the best of several accepted ones."""

    range = UNIT
    null_counts = False
    """Whether an expected null is an expectation like any other."""

    def __init__(self, config: AlternativesConfig) -> None:
        self.config = config

    @property
    def expected_field(self) -> str | None:
        return None if self.config.any_of else self.config.expected_field

    def expectation(self, example: Mapping[str, Any]) -> Mapping[str, Any]:
        path = self.config.expected_field
        return {path: expected_in(example, path, null_counts=self.null_counts)}

    def answers(self, expectation: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
        expected = expectation[self.config.expected_field]
        if not self.config.any_of:
            return [{self.config.field: expected}]
        return [{self.config.field: accepted} for accepted in expected] if isinstance(expected, list) else []

    def score(self, example: Mapping[str, Any], output: Mapping[str, Any]) -> Score:
        expected = expected_in(example, self.config.expected_field, null_counts=self.null_counts)
        given = given_in(output, self.config.field)
        if not self.config.any_of:
            return self.compared(expected, given)
        if not isinstance(expected, list) or not expected:
            raise MetricFailed(f"The example has no list of accepted answers in {self.config.expected_field!r}.")
        best = max((self.compared(accepted, given) for accepted in expected), key=lambda score: score.value)
        return Score(best.value, self.words(expected, given, ok=best.value == 1, one_of=True))

    @abstractmethod
    def compared(self, expected: Any, given: Any) -> Score:
        """The score of one answer for one expected answer. Raises `MetricFailed` for an expectation of no use."""

    def words(self, expected: Any, given: Any, *, ok: bool, one_of: bool = False) -> str:
        """What was expected and what came: `Expected intent 'refund_status', got 'return_request'.`"""
        wanted = f"one of {shown(expected)}" if one_of else shown(expected)
        if ok:
            return f"Correct: expected {self.config.field} {wanted}, got {shown(given)}."
        return f"Expected {self.config.field} {wanted}, got {NOTHING if given is None else shown(given)}."


class ExactMatch(ComparesAnswers):
    """1 when the values are the same JSON, numbers by value; nothing is trimmed or folded."""

    null_counts = True

    def compared(self, expected: Any, given: Any) -> Score:
        same = same_json(expected, given)
        return Score(float(same), self.words(expected, given, ok=same))


class NormalisedMatch(ComparesAnswers):
    """1 when the texts are the same in the normal form of SQuAD."""

    config: NormalisedConfig

    def compared(self, expected: Any, given: Any) -> Score:
        same = given is not None and self._form(expected) == self._form(given)
        return Score(float(same), self.words(expected, given, ok=same))

    def _form(self, value: Any) -> str:
        return normalised(text_of(value), drop_articles=not self.config.keep_articles)


class NumericEquality(ComparesAnswers):
    """1 when the last numbers of both are equal within the tolerance."""

    config: NumericConfig

    def compared(self, expected: Any, given: Any) -> Score:
        wanted = number_in(expected, decimal_comma=self.config.decimal_comma)
        if wanted is None:
            raise MetricFailed(f"The example has no number in {self.config.expected_field!r}: {shown(expected)}.")
        found = number_in(given, decimal_comma=self.config.decimal_comma)
        if found is None:
            what = NOTHING if given is None else f"no number in {shown(given)}"
            return Score(0.0, f"Expected {self.config.field} {wanted}, got {what}.")
        ok = agree(wanted, found, absolute=self.config.absolute, relative=self.config.relative)
        said = f"xpected {self.config.field} {wanted}, got {found}."
        return Score(float(ok), f"Correct: e{said}" if ok else f"E{said}")


class TokenF1(ComparesAnswers):
    """The F1 of the tokens that both texts share, in the normal form of SQuAD."""

    config: TokenF1Config

    def compared(self, expected: Any, given: Any) -> Score:
        drop = not self.config.keep_articles
        wanted = normalised(text_of(expected), drop_articles=drop)
        value, precision, recall = token_f1(
            wanted, "" if given is None else normalised(text_of(given), drop_articles=drop)
        )
        value = 0.0 if given is None else value
        figures = f" Token F1 {value:.2f} (precision {precision:.2f}, recall {recall:.2f})."
        passed = at_threshold(value, self.config.threshold)
        return Score(passed, self.words(expected, given, ok=passed == 1) + (figures if given is not None else ""))


class Contains(Scorer):
    """1 when the output contains the expected text; of several texts all, or any."""

    range = UNIT

    def __init__(self, config: ContainsConfig) -> None:
        self.config = config

    def expectation(self, example: Mapping[str, Any]) -> Mapping[str, Any]:
        return {self.config.expected_field: expected_in(example, self.config.expected_field)}

    def answers(self, expectation: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
        expected = expectation[self.config.expected_field]
        texts = [text_of(item) for item in expected] if isinstance(expected, list) else [text_of(expected)]
        return [{self.config.field: text} for text in ([" ".join(texts)] if self.config.need == "all" else texts)]

    def score(self, example: Mapping[str, Any], output: Mapping[str, Any]) -> Score:
        expected = expected_in(example, self.config.expected_field)
        texts = [text_of(item) for item in expected] if isinstance(expected, list) else [text_of(expected)]
        if not texts or not all(text.strip() for text in texts):
            raise MetricFailed(f"The example has an empty text in {self.config.expected_field!r}.")
        given = given_in(output, self.config.field)
        within = "" if given is None else self._form(text_of(given))
        missing = [text for text in texts if self._form(text) not in within]
        ok = not missing if self.config.need == "all" else len(missing) < len(texts)
        return Score(float(ok), self._words(texts, missing, given, ok))

    def _form(self, text: str) -> str:
        return text if self.config.case_sensitive else folded(text)

    def _words(self, texts: list[str], missing: list[str], given: Any, ok: bool) -> str:
        wanted = shown(texts[0]) if len(texts) == 1 else f"{self.config.need} of {shown(texts)}"
        if ok:
            return f"Correct: {self.config.field} contains {wanted}."
        got = NOTHING if given is None else shown(given)
        lacking = f" Missing: {', '.join(map(shown, missing))}." if len(texts) > 1 else ""
        return f"Expected {self.config.field} to contain {wanted}, got {got}.{lacking}"


class SetF1(Scorer):
    """The F1 of two lists as sets: order and repetition do not count."""

    range = UNIT

    def __init__(self, config: SetF1Config) -> None:
        self.config = config

    def expectation(self, example: Mapping[str, Any]) -> Mapping[str, Any]:
        return {self.config.expected_field: expected_in(example, self.config.expected_field)}

    def answers(self, expectation: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
        return [{self.config.field: expectation[self.config.expected_field]}]

    def score(self, example: Mapping[str, Any], output: Mapping[str, Any]) -> Score:
        expected = self._items(expected_in(example, self.config.expected_field), "The example", "expected")
        given_list = given_in(output, self.config.field)
        given = self._items([] if given_list is None else given_list, "The output", "field")
        missing = [expected[key] for key in expected if key not in given]
        surplus = [given[key] for key in given if key not in expected]
        value = _f1(len(expected) - len(missing), len(given), len(expected))
        passed = at_threshold(value, self.config.threshold)
        return Score(passed, self._words(list(expected.values()), list(given.values()), missing, surplus, value))

    def _items(self, value: Any, whose: str, setting: str) -> dict[str, Any]:
        path = self.config.expected_field if setting == "expected" else self.config.field
        if not isinstance(value, list):
            raise MetricFailed(f"{whose} has no list in {path!r}: {shown(value)}.")
        return {self._key(item): item for item in value}

    def _key(self, item: Any) -> str:
        """Equal for items that count as the same."""
        if self.config.keys and isinstance(item, Mapping):
            return canonical([self._part(item.get(name)) for name in self.config.keys])
        return canonical(self._part(item))

    def _part(self, value: Any) -> Any:
        return normalised(value) if self.config.normalise and isinstance(value, str) else value

    def _words(
        self, expected: Sequence[Any], given: Sequence[Any], missing: Sequence[Any], surplus: Sequence[Any], f1: float
    ) -> str:
        name = self.config.field
        if not missing and not surplus:
            return f"Correct: expected {name} {shown(list(expected))}, got the same."
        said = [f"Expected {name} {shown(list(expected))}, got {shown(list(given))}."]
        if missing:
            said.append(f"Missing: {shown(list(missing))}.")
        if surplus:
            said.append(f"Not expected: {shown(list(surplus))}.")
        return " ".join([*said, f"F1 {f1:.2f}."])


class JsonFieldMatch(Scorer):
    """The weighted share of several fields that match, each compared by a kind of its own."""

    range = UNIT

    def __init__(self, config: JsonFieldsConfig) -> None:
        self.config = config
        self._parts = [(rule.weight, _part_of(rule)) for rule in config.fields]
        self._weight = sum(rule.weight for rule in config.fields)

    def expectation(self, example: Mapping[str, Any]) -> Mapping[str, Any]:
        parts = (part.expectation(example) or {} for _weight, part in self._parts)
        return {path: value for part in parts for path, value in part.items()}

    def answers(self, expectation: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
        """One, with an answer in each field."""
        fields: dict[str, Any] = {}
        for _weight, part in self._parts:
            for answer in part.answers(expectation):
                fields.update(answer)
        return [fields]

    def score(self, example: Mapping[str, Any], output: Mapping[str, Any]) -> Score:
        scores = [(weight, part.score(example, output)) for weight, part in self._parts]
        value = min(sum(weight * score.value for weight, score in scores) / self._weight, 1.0)
        wrong = [score.feedback for _weight, score in scores if score.value < 1]
        right = len(scores) - len(wrong)
        said = f"{right} of {len(scores)} fields are correct, weighted {value:.2f}."
        if not wrong:
            said = " ".join([said, *(score.feedback for _weight, score in scores)])
        return Score(at_threshold(value, self.config.threshold), " ".join([said, *wrong]))


_MATCHING: Mapping[MetricKind, Callable[[Mapping[str, Any]], Scorer]] = {
    MetricKind.EXACT_MATCH: lambda config: ExactMatch(AlternativesConfig.model_validate(config)),
    MetricKind.NORMALISED_MATCH: lambda config: NormalisedMatch(NormalisedConfig.model_validate(config)),
    MetricKind.CONTAINS: lambda config: Contains(ContainsConfig.model_validate(config)),
    MetricKind.NUMERIC_EQUALITY: lambda config: NumericEquality(NumericConfig.model_validate(config)),
    MetricKind.TOKEN_F1: lambda config: TokenF1(TokenF1Config.model_validate(config)),
    MetricKind.SET_F1: lambda config: SetF1(SetF1Config.model_validate(config)),
    MetricKind.JSON_FIELD_MATCH: lambda config: JsonFieldMatch(JsonFieldsConfig.model_validate(config)),
}


def matching(kind: MetricKind, config: Mapping[str, Any]) -> Scorer:
    """The metric of a kind that compares without asking anybody. Raises `KeyError` for the other kinds."""
    return _MATCHING[kind](config)


def _part_of(rule: FieldRule) -> Scorer:
    return matching(MetricKind(rule.kind), {"field": rule.field, "expected": rule.expected})


def at_threshold(value: float, threshold: float | None) -> float:
    """`value` itself, or with a threshold 1 from there on and 0 below."""
    return value if threshold is None else float(value >= threshold)


def same_json(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal; 1 and 1.0 are, 1 and true are not."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same_json(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_json, one, other))
    return bool(one == other)


def canonical(value: Any) -> str:
    """Equal texts for values that are `same_json`."""
    return json.dumps(_whole_as_integer(value), sort_keys=True, ensure_ascii=False)


def _whole_as_integer(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {str(key): _whole_as_integer(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_whole_as_integer(item) for item in value]
    return value


def _f1(common: int, given: int, expected: int) -> float:
    if given == 0 and expected == 0:
        return 1.0
    return 2 * common / (given + expected)
