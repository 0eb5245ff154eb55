"""What the provider billed is what is recorded: every answer once, whatever went wrong before and after it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops.runtime.engines import patience
from mlops.runtime.recorder import Recorder
from mlops.types import LanguageModelSpec
from tests.mlops.runtime.calling import aask, ask, run, spec_of
from tests.provider import Behaviour, Provider, garbage, half_body, hang, reset, status, text, usage

FAULTS: dict[str, Callable[[], Behaviour]] = {
    "429": lambda: status(429),
    "500": lambda: status(500),
    "401": lambda: status(401),
    "reset": reset,
    "half body": half_body,
    "garbage": garbage,
    "unparsable": lambda: text("This has none of the fields."),
}
"""The last one is an answer, which is billed; DSPy asks once more, in JSON."""

answers = st.builds(
    lambda read, written, cached, reasoning: usage(
        read, written, cached_tokens=min(cached, read), reasoning_tokens=min(reasoning, written)
    ),
    *[st.integers(1, 10_000)] * 4,
)
behaviours = st.one_of(answers, st.sampled_from(sorted(FAULTS)).map(lambda name: FAULTS[name]()))
scripts = st.lists(behaviours, max_size=12)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once."""
    monkeypatch.setattr(patience, "FIRST_WAIT_S", 0.001)


def billed(*providers: Provider) -> dict[str, int]:
    told = [usage for provider in providers for usage in provider.billed]
    return {
        "input": sum(one["prompt_tokens"] for one in told),
        "output": sum(one["completion_tokens"] for one in told),
        "cached": sum(one["prompt_tokens_details"]["cached_tokens"] for one in told),
        "reasoning": sum(one["completion_tokens_details"]["reasoning_tokens"] for one in told),
        "requests": len(told),
    }


def recorded(recorder: Recorder) -> dict[str, int]:
    return {line: count for line, count in recorder.usage.as_json().items() if line in billed()}


async def ask_often(spec: LanguageModelSpec, recorder: Recorder, times: int) -> None:
    for _ in range(times):
        with contextlib.suppress(Exception):  # what matters here is what was billed until then
            await aask(spec, recorder)


@pytest.fixture(scope="module")
def providers() -> Iterator[tuple[Provider, Provider]]:
    with Provider() as first, Provider() as second:
        yield first, second


@pytest.mark.usefixtures("impatient")
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(first=scripts, second=scripts, times=st.integers(1, 4))
def test_sum_of_bills_is_what_is_recorded(
    providers: tuple[Provider, Provider], first: list[Any], second: list[Any], times: int
) -> None:
    main, spare = providers
    for provider, script in ((main, first), (spare, second)):
        provider._script.clear()
        provider.billed.clear()
        provider.script(*script)
    stand_in = spec_of(spare, "openai/spare", max_retries=1)
    recorder = Recorder()

    run(ask_often(spec_of(main, max_retries=2, fallbacks=(stand_in,)), recorder, times))

    assert recorded(recorder) == billed(main, spare)
    assert recorder.cost == sum(recorder.known_costs[name] for name in recorder.by_model)
    for name, provider in (("openai/stub", main), ("openai/spare", spare)):
        assert bool(provider.billed) == (name in recorder.by_model)


@pytest.mark.usefixtures("impatient")
def test_an_answer_that_cannot_be_read_is_billed_like_any(provider: Provider) -> None:
    provider.script(text("This has none of the fields."))
    _, recorder = ask(spec_of(provider))
    assert (len(provider.billed), len(recorder.spans)) == (2, 2)
    assert recorded(recorder) == billed(provider)


@pytest.mark.usefixtures("impatient")
def test_an_attempt_that_timed_out_told_nothing(provider: Provider) -> None:
    provider.script(hang())
    _, recorder = ask(spec_of(provider, timeout_s=1.0))
    assert recorder.usage.requests == len(provider.billed) == 1
    assert recorded(recorder) == billed(provider)
    assert [attempt["code"] for attempt in recorder.spans[0].attributes["attempts"]] == ["timeout"]
