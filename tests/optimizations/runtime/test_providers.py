"""Compiles against a provider over HTTP: metered exactly, resumed without paying twice, no secret kept."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlops.runtime.engines import close_language_models, language_model
from optimizations.types import Budget, CompileResult, FinishReason, OptimizerName
from tests.mlops.runtime.calling import SECRET, spec_of
from tests.optimizations.runtime.compiles import ASKING, SMALL, Killed, World, compiled
from tests.provider import Provider, status, text


def over_http(
    optimizer: OptimizerName, provider: Provider, world: World | None = None, **options: Any
) -> CompileResult:
    options.setdefault("score", lambda data, output: (float(len(data["text"]) % 2), "fine"))
    try:
        return compiled(
            optimizer,
            world=world,
            models={"": spec_of(provider, max_retries=0)},
            language_model_of=language_model,
            **options,
        )
    finally:
        close_language_models()


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("optimizer", ASKING)
def test_what_the_provider_bills_is_what_the_job_counts(optimizer: OptimizerName, threads: int) -> None:
    params = SMALL[optimizer] | ({"num_threads": threads} if optimizer != OptimizerName.BOOTSTRAP_FEW_SHOT else {})
    with Provider() as provider:
        result = over_http(optimizer, provider, params=params)
        assert (result.finish_reason, result.error) == (FinishReason.FINISHED, "")
        assert result.calls == len(provider.requests)
        assert result.cost == 3 * result.usage.input + 10 * result.usage.output
        assert result.usage.input > 0


def test_resumed_over_http_nothing_is_paid_twice() -> None:
    optimizer = OptimizerName.GEPA
    with Provider() as provider:
        whole = World()
        calls = over_http(optimizer, provider, whole).calls
        world, before = World(), len(provider.requests)

        def die() -> None:
            if len(provider.requests) - before >= 12:
                raise Killed

        world.before_put = die
        with pytest.raises(Killed):
            over_http(optimizer, provider, world)
        world.before_put, world.candidates = lambda: None, []
        over_http(optimizer, provider, world)
        assert world.found() == whole.found()
        assert len(provider.requests) - before == calls + 1


def test_a_provider_that_is_down_ends_the_job() -> None:
    with Provider() as provider:
        provider.script(*[status(500)] * 60)
        result = over_http(OptimizerName.SIMBA, provider)
    assert (result.finish_reason, result.error_code) == (FinishReason.FAILED, "provider_unavailable")
    assert result.error.startswith("The language model failed 25 times in a row:")
    assert result.calls == result.failed_calls == 25


def test_a_secret_that_the_provider_repeats_is_kept_nowhere() -> None:
    world = World()
    said = f"[[ ## label ## ]]\n{SECRET}\n\n[[ ## completed ## ]]"
    with Provider() as provider:
        provider.script(*[text(said)] * 2)
        result = over_http(
            OptimizerName.BOOTSTRAP_FEW_SHOT,
            provider,
            world,
            score=lambda data, output: (1.0, str(output)),
            limits=Budget(calls=5),
        )
    assert result.best
    assert len(result.best.state.prompts["classify"].demos) == 3
    assert SECRET not in json.dumps([list(world.memo.values()), result.best.state.as_json()])
