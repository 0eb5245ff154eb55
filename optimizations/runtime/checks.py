"""What keeps a compile from beginning, all of it at once."""

from __future__ import annotations

from collections.abc import Iterable

from mlops.errors import Problem
from mlops.types import LanguageModelSpec
from optimizations.runtime.params import Params, problems_of_data
from optimizations.types import Budget, OptimizerName
from programs.runtime.built import BuiltProgram
from programs.types import PREDICTING_KINDS


def problems_of_compile(
    program: BuiltProgram,
    optimizer: OptimizerName,
    params: Params,
    *,
    n_train: int,
    n_val: int,
    models: Iterable[LanguageModelSpec],
    limits: Budget,
) -> tuple[Problem, ...]:
    """Why this optimizer cannot work on this program with these data, models (all that may be asked) and limits."""
    problems = list(problems_of_data(optimizer, params, n_train=n_train, n_val=n_val))
    if modules_with_prompts(program) == 0:
        problems.append(Problem("nothing_to_optimize", "No module of the program has a prompt.", "program"))
    if not program.repeatable:
        words = "The program has tools with effects; an optimizer would run them again and again."
        problems.append(Problem("program_not_repeatable", words, "program"))
    if limits.cost is not None:
        problems += [
            Problem("model_without_price", f"{model.name} has no price: no limit on cost could hold.", "budget.cost")
            for model in models
            if model.price is None
        ]
    return tuple(problems)


def modules_with_prompts(program: BuiltProgram) -> int:
    """How many modules an optimizer can improve."""
    return sum(module.kind in PREDICTING_KINDS for module in program.spec.modules)
