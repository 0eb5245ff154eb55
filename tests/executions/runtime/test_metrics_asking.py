"""Metrics that ask: a judge program in both worlds, an embedding model, registered code."""

from __future__ import annotations

import asyncio
import math
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dspy
import numpy as np
import pytest
from dspy import lm15

from executions.runtime.metrics import (
    JudgeProgram,
    MetricFailed,
    MetricPorts,
    MetricSpec,
    Score,
    Scorer,
    load_metrics,
    metric,
    scorer,
)
from executions.types import MetricKind
from mlops.errors import Invalid
from mlops.runtime.engines import language_model
from mlops.runtime.recorder import Recorder, recording
from programs.runtime.build import build
from programs.runtime.ports import Ports
from programs.runtime.tools import NotRegistrable
from tests.fakes import Answer, fields, scripted, spec_of
from tests.installation import eventually
from tests.mlops.runtime.calling import SECRET
from tests.mlops.runtime.calling import spec_of as secretive
from tests.programs.runtime.specs import module, program
from tests.provider import Provider, text

EXAMPLE = {"question": "Capital of France?", "answer": "Paris"}
RATING = "question, output, expected, rubric -> score: float, feedback"


class Stopped(BaseException):
    """What a guard raises."""


def judged(
    answer: Answer, shorthand: str = RATING, kind: str = "predict", **config: Any
) -> tuple[Scorer, list[lm15.Request]]:
    lm = scripted(answer)
    built = build(program(module("rate", shorthand, kind)), Ports())
    judge = JudgeProgram(built, {"": spec_of()}, 10.0, language_model_of=lambda spec: lm)
    config = {"rubric": "Is it right?", "expected": "answer", "field": "answer", **config}
    made = scorer(MetricSpec("rated", MetricKind.JUDGE, config), MetricPorts(judge=judge))
    return made, lm.engine.requests


def both(made: Scorer, output: Mapping[str, Any]) -> Score:
    """The score, which must be the same in both worlds."""
    now = made.score(EXAMPLE, output)
    assert asyncio.run(made.ascore(EXAMPLE, output)) == now
    return now


def failure_of_both(made: Scorer, output: Mapping[str, Any]) -> str:
    with pytest.raises(MetricFailed) as now:
        made.score(EXAMPLE, output)
    with pytest.raises(MetricFailed) as later:
        asyncio.run(made.ascore(EXAMPLE, output))
    assert str(now.value) == str(later.value)
    return str(now.value)


def test_a_judge_is_given_rubric_example_and_output_and_its_words_become_feedback() -> None:
    made, requests = judged(lambda given, request: fields(score=4, feedback="Right, but curt."), scale=[1, 5])
    score = both(made, {"answer": "Paris", "reasoning": "secret thoughts"})
    assert score == Score(0.75, "The judge gave 4.0 on a scale from 1 to 5. Right, but curt.")
    asked = requests[0].messages[-1].text or ""
    for said in ("Capital of France?", "Is it right?", "Paris"):
        assert said in asked
    assert "secret thoughts" not in asked


def test_inputs_of_a_judge_are_mapped_and_objects_become_json() -> None:
    made, requests = judged(
        lambda given, request: fields(good=True, reasoning="It names the city."),
        "case, reply -> good: bool",
        "chain_of_thought",
        inputs={"case": "example", "reply": "output.answer"},
        score="good",
    )
    assert both(made, {"answer": {"city": "Paris"}}) == Score(1.0, "The judge gave true.")
    asked = requests[0].messages[-1].text or ""
    assert '{"answer": "Paris", "question": "Capital of France?"}' in asked
    assert '{"city": "Paris"}' in asked


@pytest.mark.parametrize(("said", "score"), [("Good", 1.0), (" fair ", 0.5), ("bad", 0.0)])
def test_labels_of_a_judge_have_values(said: str, score: float) -> None:
    made, _ = judged(
        lambda given, request: fields(verdict=said),
        "question, output -> verdict",
        score="verdict",
        labels={"good": 1, "fair": 0.5, "bad": 0},
    )
    assert both(made, {"answer": "Paris"}).value == score


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("excellent!", "none of its labels"),
        ("", "none of its labels"),
    ],
)
def test_a_judge_without_a_known_label_has_failed(said: str, words: str) -> None:
    made, _ = judged(
        lambda given, request: fields(verdict=said), "question, output -> verdict", score="verdict", labels={"good": 1}
    )
    assert words in failure_of_both(made, {"answer": "Paris"})


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("7", "The judge gave 7, outside of its scale from 0 to 1."),
        ("very good", "The judge gave 'very good' in 'score', which is no score."),
        ("nan", "The judge gave 'nan' in 'score', which is no score."),
        ("1e999", "The judge gave '1e999' in 'score', which is no score."),
    ],
)
def test_a_judge_that_answers_garbage_has_failed(said: str, words: str) -> None:
    made, _ = judged(lambda given, request: fields(score=said), "question, output -> score")
    assert failure_of_both(made, {"answer": "Paris"}) == words


def test_a_judge_whose_answer_cannot_be_read_has_failed_without_repeating_it() -> None:
    made, _ = judged(lambda given, request: "I would rather not say: sk-12345")
    said = failure_of_both(made, {"answer": "Paris"})
    assert said.startswith("The judge failed: ")
    assert said.endswith("(unparsable_output)")
    assert "sk-12345" not in said


def test_a_judge_whose_model_is_away_has_failed_with_its_code() -> None:
    made, _ = judged(lambda given, request: lm15.RateLimitError("slow down"))
    assert failure_of_both(made, {"answer": "Paris"}).endswith("(rate_limited)")


def test_what_a_judge_uses_is_metered_where_it_is_asked() -> None:
    made, _ = judged(lambda given, request: fields(score=1, feedback="ok"))
    for ask in (made.score, lambda *given: asyncio.run(made.ascore(*given))):
        with recording(Recorder()) as recorder:
            ask(EXAMPLE, {"answer": "Paris"})
        assert recorder.usage.total == 15
        assert recorder.cost is not None
        assert recorder.cost > 0


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (fields(score=1, feedback=f"you sent Bearer {SECRET}"), "Bearer [hidden]"),
        (fields(score=SECRET, feedback=""), "score"),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
def test_a_secret_that_a_provider_repeats_to_a_judge_is_hidden(answer: str, words: str, is_async: bool) -> None:
    with Provider() as provider:
        provider.script(text(answer), text(answer))
        spec = secretive(provider)
        lm = language_model(spec)
        built = build(program(module("rate", "output -> score, feedback")), Ports())
        judge = JudgeProgram(built, {"": spec}, 10.0, language_model_of=lambda spec: lm)
        made = scorer(MetricSpec("rated", MetricKind.JUDGE), MetricPorts(judge=judge))

        async def once() -> Score:
            try:
                return await made.ascore(EXAMPLE, {"answer": "Paris"})
            finally:
                await lm.engine.async_engine.aclose()

        try:
            said = (asyncio.run(once()) if is_async else made.score(EXAMPLE, {"answer": "Paris"})).feedback
        except MetricFailed as failure:
            said = str(failure)
        lm.engine.close()
    assert SECRET not in said
    assert words in said


def test_a_judge_leaves_nothing_in_the_trace_of_an_optimizer() -> None:
    made, _ = judged(lambda given, request: fields(score=1, feedback="ok"))
    with dspy.context(trace=[], lm=None):
        made.score(EXAMPLE, {"answer": "Paris"})
        assert dspy.settings.trace == []


def test_what_stops_a_job_passes_through_a_metric() -> None:
    def stopped(given: Any, request: Any) -> str:
        raise Stopped

    made, _ = judged(stopped)
    with pytest.raises(Stopped):
        made.score(EXAMPLE, {"answer": "Paris"})


def test_a_judge_must_fit_its_config() -> None:
    with pytest.raises(Invalid) as refusal:
        judged(
            lambda given, request: "",
            score="stars",
            feedback="why",
            rubric="",
            expected=None,
            inputs={"output": "answer.text", "colour": "rubric"},
        )
    assert [problem.field for problem in refusal.value.problems] == [
        "config.inputs.colour",
        "config.inputs.output",
        "config.score",
        "config.feedback",
        "config.expected",
        "config.rubric",
    ]


@dataclass
class Vectors:
    """An embedding model that knows some texts."""

    known: Mapping[str, Sequence[float]]
    asked: list[str] = field(default_factory=list)

    def embed(self, texts: Sequence[str]) -> Sequence[Any]:
        self.asked.extend(texts)
        return [self.known[text] for text in texts]

    async def aembed(self, texts: Sequence[str]) -> Sequence[Any]:
        return self.embed(texts)


def similar(known: Mapping[str, Sequence[float]], **config: Any) -> tuple[Scorer, Vectors]:
    vectors = Vectors(known)
    spec = MetricSpec("like", MetricKind.SEMANTIC_SIMILARITY, {"field": "answer", **config})
    return scorer(spec, MetricPorts(embedder=vectors)), vectors


@pytest.mark.parametrize(
    ("vector", "score"),
    [([2, 0], 1), ([1, 1], 1 / math.sqrt(2)), ([0, 3], 0), ([-1, 0], 0), (np.array([1, 0], np.float32), 1)],
)
def test_similarity_is_the_cosine_and_never_below_zero(vector: Any, score: float) -> None:
    made, _ = similar({"Paris": [1, 0], "Lutetia": vector})
    assert both(made, {"answer": "Lutetia"}).value == pytest.approx(score)


def test_similarity_at_a_threshold_says_both() -> None:
    made, _ = similar({"Paris": [1, 0], "Lutetia": [1, 1]}, threshold=0.8)
    assert both(made, {"answer": "Lutetia"}) == Score(
        0.0, "Expected answer like 'Paris', got 'Lutetia': similarity 0.71, at least 0.8 is asked for."
    )


def test_nothing_is_similar_to_nothing_and_no_model_is_asked() -> None:
    made, vectors = similar({})
    for empty in (None, "", "  "):
        assert both(made, {"answer": empty}).value == 0
    assert vectors.asked == []


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({"Paris": [0, 0], "x": [1, 0]}, "without direction"),
        ({"Paris": [math.nan, 0], "x": [1, 0]}, "without direction"),
        ({"Paris": [1], "x": [1, 0]}, "different lengths"),
        ({"Paris": [1, 0]}, "The embedding model failed"),
    ],
)
def test_vectors_of_no_use_are_a_failure(known: Mapping[str, Sequence[float]], words: str) -> None:
    made, _ = similar(known)
    assert words in failure_of_both(made, {"answer": "x"})


@metric(description="Length against a limit.", low=0, high=10)
def length(example: Mapping[str, Any], output: Mapping[str, Any], limit: int = 5) -> Any:
    return Score(min(10.0, len(output["answer"])), f"At most {limit} letters.")


@metric(description="Gives what the output says.")
def echoing(example: Any, output: Any) -> Any:
    return output["answer"]


@metric(description="Gives a value of the name in the output.")
def odd(example: Any, output: Any) -> Any:
    return {"numpy": np.float64(0.5), "bytes": b"1", "object": object(), "score": Score(True, ""), "list": [1]}[
        output["answer"]
    ]


@metric(description="Always fails.")
def failing(example: Any, output: Any, politely: bool = False) -> Any:
    if politely:
        raise MetricFailed("The answer is not JSON.")
    raise ValueError("the password is hunter2")


@metric(description="Changes what it is given.")
def greedy(example: dict[str, Any], output: dict[str, Any]) -> float:
    example.clear()
    output.clear()
    return 1.0


freed = threading.Event()


@metric(description="Takes too long.", seconds=0.05)
def hanging(example: Any, output: Any) -> float:
    freed.wait(30)
    return 1.0


@metric(description="Tells of a time-out of its own.")
def out_of_time(example: Any, output: Any) -> float:
    raise TimeoutError


def coded(function: str, **arguments: Any) -> Scorer:
    names = ("length", "echoing", "odd", "failing", "greedy", "hanging", "out_of_time")
    functions = load_metrics({name: f"{__name__}:{name}" for name in names})
    spec = MetricSpec("mine", MetricKind.CODE, {"function": function, "arguments": arguments})
    return scorer(spec, MetricPorts(functions=functions))


def test_registered_code_scores_in_its_own_range() -> None:
    made = coded("length", limit=3)
    assert str(made.range) == "0 to 10"
    assert both(made, {"answer": "Paris"}) == Score(5.0, "At most 3 letters.")


@pytest.mark.parametrize(("said", "score"), [(True, 1.0), (False, 0.0), (1, 1.0), (0.25, 0.25)])
def test_plain_numbers_get_feedback(said: Any, score: float) -> None:
    found = both(coded("echoing"), {"answer": said})
    assert found.value == score
    assert "Paris" in found.feedback
    assert str(score) in found.feedback


def test_numbers_of_other_libraries_are_numbers() -> None:
    assert both(coded("odd"), {"answer": "numpy"}).value == 0.5
    assert both(coded("odd"), {"answer": "score"}).value == 1.0


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (None, "The metric 'echoing' gave no score."),
        ("0.5", "The metric 'echoing' gave a value of type str, which is no score."),
        (math.nan, "The metric 'mine' gave nan, which is no score."),
        (math.inf, "The metric 'mine' gave inf, which is no score."),
        (1.5, "The metric 'mine' gave 1.5, outside of its range from 0 to 1."),
        (-0.1, "The metric 'mine' gave -0.1, outside of its range from 0 to 1."),
    ],
)
def test_code_that_gives_no_score_has_failed(said: Any, words: str) -> None:
    assert failure_of_both(coded("echoing"), {"answer": said}) == words


@pytest.mark.parametrize(("said", "kind"), [("bytes", "bytes"), ("object", "object"), ("list", "list")])
def test_code_that_gives_something_else_has_failed(said: str, kind: str) -> None:
    assert f"a value of type {kind}" in failure_of_both(coded("odd"), {"answer": said})


def test_code_that_raises_has_failed_without_its_words_unless_it_chose_them() -> None:
    said = failure_of_both(coded("failing"), {"answer": "x"})
    assert said.startswith("The metric 'failing' raised ValueError in failing, line ")
    assert "hunter2" not in said
    assert "Traceback" not in said
    assert failure_of_both(coded("failing", politely=True), {"answer": "x"}) == "The answer is not JSON."


def test_code_gets_copies() -> None:
    example, output = dict(EXAMPLE), {"answer": "x"}
    coded("greedy").score(example, output)
    assert (example, output) == (EXAMPLE, {"answer": "x"})


def test_code_that_takes_too_long_has_failed_and_soon_nothing_more_is_asked_of_it() -> None:
    made = coded("hanging")
    freed.clear()
    try:
        overdue = "The metric 'hanging' gave no score within 0.05 seconds."
        assert failure_of_both(made, {"answer": "x"}) == overdue

        async def many() -> list[Any]:
            return await asyncio.gather(*(made.ascore(EXAMPLE, {}) for _ in range(40)), return_exceptions=True)

        said = Counter(map(str, asyncio.run(many())))
        busy = "The metric 'hanging' is still busy with earlier answers."
        assert said.keys() == {overdue, busy}
        assert 8 <= said[overdue] + 2 <= 16  # those that had begun, and two before
        assert failure_of_both(made, {"answer": "x"}) == busy
    finally:
        freed.set()
    eventually(lambda: not any(thread.name == "bounded-call" for thread in threading.enumerate()))
    assert made.score(EXAMPLE, {"answer": "x"}).value == 1.0


def test_a_time_out_inside_of_code_is_its_own_failure() -> None:
    said = failure_of_both(coded("out_of_time"), {"answer": "x"})
    assert said.startswith("The metric 'out_of_time' raised TimeoutError in out_of_time")


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf])
def test_code_has_some_time(seconds: float) -> None:
    with pytest.raises(ValueError, match="some seconds"):
        metric(description="", seconds=seconds)


def test_arguments_must_fit_the_function() -> None:
    with pytest.raises(Invalid) as refusal:
        coded("echoing", limit=1)
    assert [problem.field for problem in refusal.value.problems] == ["config.arguments"]


@metric(description="Asynchronous.")
async def waiting(example: Any, output: Any) -> float:
    return 1.0


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nowhere.at.all:x", "cannot be imported"),
        ("json:dumps", "not declared with @metric"),
        ("json", "not of the form"),
        (f"{__name__}:waiting", "is asynchronous"),
    ],
)
def test_what_cannot_be_registered_is_named(path: str, words: str) -> None:
    with pytest.raises(NotRegistrable, match=words):
        load_metrics({"mine": path})


@pytest.mark.parametrize(("low", "high"), [(1, 0), (0, 0), (0, math.inf), (math.nan, 1)])
def test_a_range_goes_upwards(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="range of a metric"):
        metric(description="", low=low, high=high)
