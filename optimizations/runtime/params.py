"""Parameters of the optimizers: typed, bounded, described; and what they need of the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from dspy.teleprompt.mipro_optimizer_v2 import AUTO_RUN_SETTINGS, MIN_MINIBATCH_SIZE
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mlops.errors import Problem, all_of
from optimizations.types import OptimizerName

Threads = Annotated[
    int,
    Field(
        ge=1,
        le=16,
        description="Runs at once while candidates are scored; with 1 a resumed job surely finds the same candidates.",
    ),
]
Threshold = Annotated[
    float | None,
    Field(
        gt=0,
        le=1,
        description="A run becomes a demo if it scores at least this, 1 being the top of the metric's range. "
        "null: anything above the bottom.",
    ),
]
BootstrappedDemos = Annotated[int, Field(ge=1, le=64, description="Demos per module made from the program's own runs.")]
LabeledDemos = Annotated[
    int, Field(ge=0, le=2000, description="Demos per module in all; filled up with examples as they are.")
]
Rounds = Annotated[
    int, Field(ge=1, le=10, description="Attempts per example; the later ones at temperature 1 to get other runs.")
]


class Params(BaseModel):
    """Parameters of one optimizer."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class LabeledFewShotParams(Params):
    """Examples of the training set become demos as they are. No model call."""

    k: int = Field(16, ge=1, le=2000, description="How many examples.")
    sample: bool = Field(True, description="Draw them at random (seeded); false: take the first ones.")


class BootstrapFewShotParams(Params):
    """Runs of the program on training examples that score well become demos, reasoning and all."""

    max_bootstrapped_demos: BootstrappedDemos = 4
    max_labeled_demos: LabeledDemos = 16
    max_rounds: Rounds = 1
    metric_threshold: Threshold = 1.0


class RandomSearchParams(Params):
    """Bootstrapped demos from many shuffles of the training set; the best set of them on the validation set wins."""

    max_bootstrapped_demos: BootstrappedDemos = 4
    max_labeled_demos: LabeledDemos = 16
    max_rounds: Rounds = 1
    metric_threshold: Threshold = 1.0
    num_candidate_programs: int = Field(
        16, ge=1, le=100, description="Shuffles to try, beside no demos, labelled ones, and the unshuffled order."
    )
    stop_at_score: float | None = Field(
        None, gt=0, le=1, description="Stop as soon as a candidate scores this on the validation set."
    )
    num_threads: Threads = 1


class CoproParams(Params):
    """The prompt model rewrites instructions, again and again from the best so far. Scored on the training set."""

    breadth: int = Field(10, ge=2, le=50, description="Instructions proposed at a time.")
    depth: int = Field(3, ge=1, le=10, description="How often.")
    init_temperature: float = Field(1.4, ge=0, le=2, description="Temperature of the proposals.")
    num_threads: Threads = 1


class MiproV2Params(Params):
    """Proposes instructions and sets of demos, then searches their combinations by Bayesian optimisation."""

    auto: Literal["light", "medium", "heavy"] | None = Field(
        "light", description="A ready-made size of search. null: num_candidates and num_trials say it."
    )
    num_candidates: int | None = Field(None, ge=1, le=50, description="Instructions and sets of demos to propose.")
    num_trials: int | None = Field(None, ge=1, le=500, description="Combinations to try.")
    max_bootstrapped_demos: int = Field(4, ge=0, le=64, description="Demos per module from the program's own runs.")
    max_labeled_demos: LabeledDemos = 4
    metric_threshold: Threshold = 1.0
    init_temperature: float = Field(1.0, ge=0, le=2, description="Temperature of the proposals.")
    minibatch: bool = Field(
        True, description="Score on a part of the validation set first; with auto where it has more than 50 examples."
    )
    minibatch_size: int = Field(35, ge=1, le=1000, description="How many of its examples.")
    minibatch_full_eval_steps: int = Field(
        5, ge=1, le=100, description="After so many trials the best one is scored on the whole validation set."
    )
    num_threads: Threads = 1

    @model_validator(mode="after")
    def _sized_once(self) -> MiproV2Params:
        sizes = (self.num_candidates, self.num_trials)
        if self.auto is not None and sizes != (None, None):
            raise ValueError("auto says the size of the search; with num_candidates and num_trials it is null")
        if self.auto is None and None in sizes:
            raise ValueError("without auto both num_candidates and num_trials are needed")
        if self.max_bootstrapped_demos == 0 and self.max_labeled_demos > 0:
            raise ValueError("max_bootstrapped_demos 0 goes only with max_labeled_demos 0: instructions alone")
        return self


class SimbaParams(Params):
    """Looks at examples where runs differ most, and adds a demo or a rule that the better run suggests."""

    bsize: int = Field(32, ge=1, le=1000, description="Examples of the training set per step.")
    num_candidates: int = Field(6, ge=1, le=50, description="Runs per example, and candidates per step.")
    max_steps: int = Field(8, ge=1, le=100, description="Steps.")
    max_demos: int = Field(4, ge=0, le=64, description="Demos per module; 0: rules alone.")
    num_threads: Threads = 1


class GepaParams(Params):
    """The prompt model reads runs with the metric's feedback and rewrites instructions; a Pareto front of candidates
    is kept. At most one of `auto`, `max_full_evals` and `max_metric_calls`; none is `auto` light."""

    auto: Literal["light", "medium", "heavy"] | None = Field(None, description="A ready-made size of search.")
    max_full_evals: int | None = Field(
        None, ge=1, le=1000, description="Size in scorings of the whole training and validation set."
    )
    max_metric_calls: int | None = Field(
        None, ge=1, le=1_000_000, description="Size in scored runs. May be exceeded by one validation set."
    )
    reflection_minibatch_size: int = Field(3, ge=1, le=100, description="Examples per reflection.")
    candidate_selection_strategy: Literal["pareto", "current_best"] = Field(
        "pareto", description="Which candidate to improve next."
    )
    skip_perfect_score: bool = Field(True, description="No reflection where all examples of a batch are perfect.")
    use_merge: bool = Field(True, description="Merge candidates that are good at different modules.")
    max_merge_invocations: int = Field(5, ge=0, le=100, description="How often.")
    num_threads: Threads = 1

    @model_validator(mode="after")
    def _sized_once(self) -> GepaParams:
        if sum(size is not None for size in (self.auto, self.max_full_evals, self.max_metric_calls)) > 1:
            raise ValueError("only one of auto, max_full_evals and max_metric_calls says the size of the search")
        return self


PARAMS: Mapping[OptimizerName, type[Params]] = {
    OptimizerName.LABELED_FEW_SHOT: LabeledFewShotParams,
    OptimizerName.BOOTSTRAP_FEW_SHOT: BootstrapFewShotParams,
    OptimizerName.BOOTSTRAP_FEW_SHOT_WITH_RANDOM_SEARCH: RandomSearchParams,
    OptimizerName.COPRO: CoproParams,
    OptimizerName.MIPRO_V2: MiproV2Params,
    OptimizerName.SIMBA: SimbaParams,
    OptimizerName.GEPA: GepaParams,
}

NEEDS_VALIDATION = frozenset(
    {OptimizerName.BOOTSTRAP_FEW_SHOT_WITH_RANDOM_SEARCH, OptimizerName.MIPRO_V2, OptimizerName.GEPA}
)
"""Optimizers that choose by the validation set."""

MOST_EXAMPLES = 20_000
"""Of each set. DSPy keeps the sets in memory; labeled_few_shot alone picks what it needs of any number."""

PROMPTING = frozenset({OptimizerName.COPRO, OptimizerName.MIPRO_V2, OptimizerName.SIMBA, OptimizerName.GEPA})
"""Optimizers that ask the prompt model for instructions."""

NOT_OFFERED: Mapping[str, str] = {
    "avatar": "it does not work in this version of DSPy.",
    "avatar_optimizer": "it does not work in this version of DSPy.",
    "better_together": "it reports success when its weight step has failed; run its prompt optimizer by itself.",
    "bootstrap_few_shot_with_optuna": "its search is not seeded, so that no result can be had again; "
    "use bootstrap_few_shot_with_random_search or mipro_v2.",
    "bootstrap_finetune": "it needs a provider that trains weights.",
    "ensemble": "it makes a program that asks several programs, which no prompt version holds.",
    "grpo": "it trains the weights of a model.",
    "infer_rules": "it edits the program that it is given in place and ends in a bare error when a model fails; "
    "use simba or gepa.",
    "knn_few_shot": "what it makes is lost when it is stored, and it compiles anew for every request.",
    "re_anchor": "it is experimental and was not proven here.",
    "signature_opt": "it is COPRO under an old name; use copro.",
}
"""Optimizers of DSPy that are not offered, with the reason."""


def optimizer_named(name: str) -> OptimizerName:
    """Raises `Invalid` (`optimizer_not_offered`, `optimizer_unknown`) for a name that is no optimizer here."""
    if problem := problem_of_optimizer(name):
        raise all_of([problem], code=problem.code, message=problem.message)
    return OptimizerName(name)


def problem_of_optimizer(name: str) -> Problem | None:
    """Why there is no optimizer of this name, or None."""
    if name in PARAMS:
        return None
    plain = name.replace("_", "").lower()
    for known, reason in NOT_OFFERED.items():
        if plain in (known.replace("_", ""), known.replace("_", "") + "optimizer"):
            return Problem("optimizer_not_offered", f"{known} is not offered: {reason}", "optimizer")
    return Problem("optimizer_unknown", f"The optimizers are {', '.join(PARAMS)}.", "optimizer")


def problems_of_params(name: OptimizerName, params: Mapping[str, Any]) -> tuple[Problem, ...]:
    """Everything that is wrong with the parameters, with their names as fields."""
    try:
        PARAMS[name].model_validate(params)
    except ValidationError as error:
        return tuple(
            Problem("params_invalid", item["msg"].removeprefix("Value error, "), ".".join(map(str, item["loc"])))
            for item in error.errors(include_url=False, include_context=False, include_input=False)
        )
    return ()


def checked_params(name: OptimizerName, params: Mapping[str, Any]) -> Any:
    """The parameters with defaults filled in. Raises `Invalid` (`params_invalid`) with every problem."""
    if problems := problems_of_params(name, params):
        raise all_of(problems, code="params_invalid", message="The parameters do not fit the optimizer.")
    return PARAMS[name].model_validate(params)


def json_schema_of_params(name: OptimizerName) -> dict[str, Any]:
    """The parameters as JSON Schema, for forms and documentation."""
    return PARAMS[name].model_json_schema()


def problems_of_data(name: OptimizerName, params: Params, *, n_train: int, n_val: int) -> tuple[Problem, ...]:
    """What the optimizer lacks in these data sets."""
    problems = []
    least = params.bsize if isinstance(params, SimbaParams) else 1
    if n_train < least:
        words = f"{name.value} needs at least {least} training examples; there are {n_train}."
        problems.append(Problem("training_set_too_small", words, "dataset"))
    if name is not OptimizerName.LABELED_FEW_SHOT and n_train > MOST_EXAMPLES:
        problems.append(Problem("training_set_too_large", _too_many(name, "training", n_train), "dataset"))
    if name in NEEDS_VALIDATION and n_val > MOST_EXAMPLES:
        problems.append(Problem("validation_set_too_large", _too_many(name, "validation", n_val), "validation_set"))
    if name in NEEDS_VALIDATION and n_val < 1:
        words = f"{name.value} chooses by a validation set, and there is none."
        problems.append(Problem("validation_set_missing", words, "validation_set"))
    elif isinstance(params, MiproV2Params):
        most = validation_size(params, n_val)
        if uses_minibatches(params, n_val) and params.minibatch_size > most:
            words = f"At most {most}, what is used of the validation set; or minibatch false."
            problems.append(Problem("params_invalid", words, "minibatch_size"))
    return tuple(problems)


def _too_many(name: OptimizerName, kind: str, size: int) -> str:
    return f"{name.value} takes at most {MOST_EXAMPLES:,} {kind} examples; there are {size:,}. Split off a part."


def validation_size(params: MiproV2Params, n_val: int) -> int:
    """How many validation examples are used: with `auto` DSPy draws a part of a large set."""
    return n_val if params.auto is None else min(n_val, AUTO_RUN_SETTINGS[params.auto]["val_size"])


def uses_minibatches(params: MiproV2Params, n_val: int) -> bool:
    """With `auto` DSPy decides by what is used of the validation set."""
    return params.minibatch if params.auto is None else validation_size(params, n_val) > MIN_MINIBATCH_SIZE
