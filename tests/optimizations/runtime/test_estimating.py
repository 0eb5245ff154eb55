"""What an optimizer is said to do holds for what it does."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from dspy.lm15 import Request

from mlops.types import LanguageModelSpec
from optimizations.runtime.estimating import LEAST_WORDS, MOST_WORDS, work_of
from optimizations.runtime.params import PROMPTING, checked_params
from optimizations.types import OptimizerName
from programs.runtime.build import build
from programs.runtime.ports import Ports
from programs.types import ProgramSpec
from tests.fakes import PRICE, fields, scripted
from tests.optimizations.runtime.compiles import CLASSIFY, SMALL, TWO_STEPS, anything, compiled, examples, wanted

PROMPT_MODEL = LanguageModelSpec("m-9", "fake/proposer", price=PRICE)


def length(request: Request) -> int:
    return len(str(request.system or "")) + sum(len(message.text or "") for message in request.messages)


def unsteady() -> Callable[[dict[str, str], Request], str]:
    """Every third label is wrong, so that runs of the same example differ, which is what SIMBA looks for."""
    numbers = itertools.count()

    def answer(given: dict[str, str], request: Request) -> str:
        is_wrong = wanted(request) == ["label"] and next(numbers) % 3 == 0
        return fields(label="grey") if is_wrong else anything(given, request)

    return answer


@pytest.mark.parametrize("optimizer", sorted(PROMPTING))
@pytest.mark.parametrize("spec", [CLASSIFY, TWO_STEPS], ids=["one", "two"])
def test_proposals_are_as_many_and_as_long_as_was_said(optimizer: OptimizerName, spec: ProgramSpec) -> None:
    task, proposer = scripted(unsteady()), scripted(anything)
    params = {**SMALL[optimizer], **({"max_demos": 0} if optimizer is OptimizerName.SIMBA else {})}  # rules alone
    compiled(
        optimizer,
        params=params,
        built=build(spec, Ports()),
        prompt_model=PROMPT_MODEL,
        language_model_of=lambda spec: proposer if spec is PROMPT_MODEL else task,
    )
    asked = proposer.engine.requests
    work = work_of(checked_params(optimizer, params), n_train=8, n_val=6, modules=len(spec.modules))
    assert asked
    assert work.proposals_low <= len(asked) <= work.proposals_high
    run = max(map(length, task.engine.requests)) * len(spec.modules)
    example = max(len(str(data)) for _id, data in examples(8))
    answer = 100  # more than `anything` says
    reads = work.reads
    most = MOST_WORDS + len(str(spec)) + reads.examples * example + reads.runs * run + reads.answers * answer
    assert all(LEAST_WORDS <= length(request) <= most for request in asked)
