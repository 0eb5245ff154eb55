"""An optimizer that picks few examples of many takes no others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from optimizations.runtime.examples import Examples
from optimizations.types import EXAMPLE_MARK, OptimizerName
from programs.runtime.build import build
from programs.runtime.ports import Ports
from tests.optimizations.runtime.compiles import TWO_STEPS, compiled, examples

MANY = 100_000


class Made(Sequence[Any]):
    """So many examples, made when they are taken; it knows which ones were."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.taken: list[int] = []

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < self._size:
            raise IndexError
        self.taken.append(index)
        return examples(1, first=index)[0]


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("sample", [True, False])
def test_labeled_few_shot_takes_what_becomes_demos_and_nothing_to_judge_by(seed: int, *, sample: bool) -> None:
    training, validation = Made(MANY), Made(MANY)
    result = compiled(
        OptimizerName.LABELED_FEW_SHOT,
        params={"k": 4, "sample": sample},
        built=build(TWO_STEPS, Ports()),
        trainset=training,
        valset=validation,
        seed=seed,
    )
    assert len(training.taken) == 2 * 4  # for each of two modules
    assert validation.taken == []
    assert result.best is not None
    demos = result.best.state.prompts["decide"].demos + result.best.state.prompts["think"].demos
    assert {demo[EXAMPLE_MARK] for demo in demos} <= {f"e-{index}" for index in training.taken}
    assert all(demo["text"] == f"thing {demo[EXAMPLE_MARK][2:]}" for demo in demos)


def test_the_order_is_that_of_a_shuffled_list() -> None:
    whole = Examples(examples(50), lambda key, data: (key, data["text"]))
    shuffled = whole.shuffled(3)
    assert [shuffled[number] for number in range(50)] == list(shuffled) == shuffled[:]
    assert sorted(shuffled) == sorted(whole)
    assert list(shuffled) != list(whole)
    assert list(shuffled) == list(whole.shuffled(3)) != list(whole.shuffled(4))
