from __future__ import annotations

from typing import Any

import pytest

from mlops.errors import Invalid
from optimizations.runtime.estimating import work_of
from optimizations.runtime.params import (
    NOT_OFFERED,
    PARAMS,
    checked_params,
    json_schema_of_params,
    optimizer_named,
    problems_of_data,
    problems_of_params,
)
from optimizations.types import OptimizerName

SIZED = {"auto": None, "num_candidates": 3, "num_trials": 3}


@pytest.mark.parametrize("name", OptimizerName)
def test_defaults_are_enough(name: OptimizerName) -> None:
    assert problems_of_params(name, {}) == ()
    assert getattr(checked_params(name, {}), "num_threads", 1) == 1


@pytest.mark.parametrize("name", OptimizerName)
def test_every_parameter_is_described_and_bounded(name: OptimizerName) -> None:
    schema = json_schema_of_params(name)
    assert schema["additionalProperties"] is False
    assert schema["description"]
    for field, described in schema["properties"].items():
        assert described["description"], field
        for kind in described.get("anyOf", [described]):
            if kind.get("type") in ("integer", "number"):
                assert "maximum" in kind, field
                assert {"minimum", "exclusiveMinimum"} & kind.keys(), field


@pytest.mark.parametrize(
    ("name", "params", "fields"),
    [
        ("labeled_few_shot", {"k": "4", "sample": 1}, ["k", "sample"]),
        ("labeled_few_shot", {"k": 0}, ["k"]),
        ("labeled_few_shot", {"k": 4.0}, ["k"]),
        ("labeled_few_shot", {"k": True}, ["k"]),
        ("labeled_few_shot", {"k": None}, ["k"]),
        ("labeled_few_shot", {"K": 4, "lm": "x"}, ["K", "lm"]),
        ("bootstrap_few_shot", {"max_bootstrapped_demos": 0}, ["max_bootstrapped_demos"]),
        ("bootstrap_few_shot", {"metric_threshold": 0}, ["metric_threshold"]),
        ("bootstrap_few_shot", {"metric_threshold": float("nan")}, ["metric_threshold"]),
        ("bootstrap_few_shot_with_random_search", {"num_threads": 17}, ["num_threads"]),
        ("copro", {"breadth": 1, "depth": 0}, ["breadth", "depth"]),
        ("copro", {"init_temperature": "hot"}, ["init_temperature"]),
        ("mipro_v2", {"auto": "huge"}, ["auto"]),
        ("mipro_v2", {"num_candidates": 4, "num_trials": 5}, [""]),
        ("mipro_v2", {"auto": None}, [""]),
        ("mipro_v2", {"max_bootstrapped_demos": 0}, [""]),
        ("mipro_v2", {"log_dir": "/tmp"}, ["log_dir"]),
        ("simba", {"bsize": -1}, ["bsize"]),
        ("gepa", {"auto": "light", "max_full_evals": 2}, [""]),
        ("gepa", {"gepa_kwargs": {}}, ["gepa_kwargs"]),
        ("gepa", {"max_metric_calls": 10**9}, ["max_metric_calls"]),
    ],
)
def test_every_wrong_parameter_is_named(name: str, params: dict[str, Any], fields: list[str]) -> None:
    problems = problems_of_params(OptimizerName(name), params)
    assert [problem.field for problem in problems] == fields
    assert {problem.code for problem in problems} == {"params_invalid"}
    with pytest.raises(Invalid) as refusal:
        checked_params(OptimizerName(name), params)
    assert refusal.value.problems == problems


def test_parameters_that_are_no_object() -> None:
    assert [problem.field for problem in problems_of_params(OptimizerName.COPRO, [])] == [""]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", OptimizerName)
def test_optimizers_by_name(name: OptimizerName) -> None:
    assert optimizer_named(name.value) is name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("knn_few_shot", "lost when it is stored"),
        ("KNNFewShot", "lost when it is stored"),
        ("BootstrapFinetune", "provider that trains"),
        ("BetterTogether", "reports success"),
        ("InferRules", "in place"),
        ("AvatarOptimizer", "does not work"),
        ("grpo", "weights"),
    ],
)
def test_what_is_not_offered_says_why(name: str, reason: str) -> None:
    with pytest.raises(Invalid, match=reason) as refusal:
        optimizer_named(name)
    assert (refusal.value.code, refusal.value.field) == ("optimizer_not_offered", "optimizer")


def test_unknown_optimizers_are_told_which_there_are() -> None:
    with pytest.raises(Invalid, match="mipro_v2") as refusal:
        optimizer_named("os.system")
    assert refusal.value.code == "optimizer_unknown"
    assert not set(NOT_OFFERED) & set(PARAMS)


@pytest.mark.parametrize(
    ("name", "params", "n_train", "n_val", "problems"),
    [
        ("labeled_few_shot", {}, 0, 0, [("training_set_too_small", "dataset")]),
        ("labeled_few_shot", {}, 1, 0, []),
        ("simba", {"bsize": 9}, 8, 0, [("training_set_too_small", "dataset")]),
        ("simba", {"bsize": 8}, 8, 0, []),
        ("gepa", {}, 1, 0, [("validation_set_missing", "validation_set")]),
        ("gepa", {}, 1, 1, []),
        ("copro", {}, 1, 0, []),
        ("mipro_v2", {}, 1, 20, []),
        ("mipro_v2", {"minibatch_size": 60}, 1, 51, [("params_invalid", "minibatch_size")]),
        ("mipro_v2", {"minibatch_size": 101}, 1, 500, [("params_invalid", "minibatch_size")]),
        (
            "mipro_v2",
            {"auto": None, "num_candidates": 3, "num_trials": 3},
            1,
            34,
            [("params_invalid", "minibatch_size")],
        ),
        ("mipro_v2", SIZED | {"minibatch": False}, 1, 34, []),
        ("labeled_few_shot", {}, 100_000, 100_000, []),
        ("bootstrap_few_shot", {}, 20_000, 100_000, []),
        ("bootstrap_few_shot", {}, 20_001, 0, [("training_set_too_large", "dataset")]),
        ("gepa", {}, 1, 20_001, [("validation_set_too_large", "validation_set")]),
    ],
)
def test_data_that_do_not_suffice(
    name: str, params: dict[str, Any], n_train: int, n_val: int, problems: list[tuple[str, str]]
) -> None:
    optimizer = OptimizerName(name)
    found = problems_of_data(optimizer, checked_params(optimizer, params), n_train=n_train, n_val=n_val)
    assert [(problem.code, problem.field) for problem in found] == problems


@pytest.mark.parametrize(
    ("name", "params", "runs", "proposals"),
    [
        ("labeled_few_shot", {}, (0, 0), (0, 0)),
        ("bootstrap_few_shot", {}, (4, 100), (0, 0)),
        ("bootstrap_few_shot_with_random_search", {}, (19 * 50 + 20, 19 * 50 + 17 * 100), (0, 0)),
        ("copro", {}, (30 * 100, 30 * 100), (29, 58)),
        ("gepa", {"max_metric_calls": 500}, (500, 500 + 50 + 6), (0, 300)),
    ],
)
def test_estimates(name: str, params: dict[str, Any], runs: tuple[int, int], proposals: tuple[int, int]) -> None:
    work = work_of(checked_params(OptimizerName(name), params), n_train=100, n_val=50, modules=1)
    assert (work.runs_low, work.runs_high) == runs
    assert (work.proposals_low, work.proposals_high) == proposals
