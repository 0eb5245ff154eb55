"""What somebody asks to have compiled: checked as a whole, so that nothing begins that cannot end well."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NotRequired, TypedDict

from django.utils.translation import gettext as _

from datasets.errors import dataset_importing
from datasets.models import Dataset
from datasets.policies import dataset_policy
from datasets.services.statistics import overlap
from datasets.types import DatasetType, VersionState
from executions.models import Metric
from executions.services.evaluations.proposals import Proposal, budget_of, propose
from executions.services.planning import Plan
from executions.services.reserving import DEFAULT
from mlops.errors import Invalid, Problem
from mlops.models import LanguageModel, User
from mlops.policies import language_model_policy
from mlops.sanitiser import refuse_unstorable
from mlops.selectors import language_model_spec
from mlops.types import LanguageModelKind, LanguageModelSpec
from optimizations import errors
from optimizations.policies import compile_policy
from optimizations.runtime.checks import problems_of_compile
from optimizations.runtime.params import Params, checked_params, optimizer_named
from optimizations.services.splits import Parts, parts_of
from optimizations.types import Budget, OptimizerName
from programs.models import Program, PromptSet
from programs.services import choose_prompt_set

MAX_SEED = 2**31 - 1

OF_PARAMS = "params_invalid"
"""The code of problems whose field is a parameter of the optimizer."""


class CompileOptions(TypedDict):
    """What may be said beside program, dataset, metric and optimizer; see `compile_program`."""

    params: NotRequired[Mapping[str, Any] | None]
    validation_set: NotRequired[Dataset | None]
    budget: NotRequired[Budget | Mapping[str, Any] | None]
    seed: NotRequired[int]
    prompt_model: NotRequired[LanguageModel | None]


@dataclass(frozen=True, slots=True)
class Asked:
    """A compile that could begin. `parts` is set when the validation set is to be split off."""

    program: Program
    prompt_set: PromptSet
    training: Dataset
    validation: Dataset | None
    parts: Parts | None
    metric: Metric
    proposal: Proposal
    optimizer: OptimizerName
    params: Params
    budget: Budget
    seed: int
    prompt_model: LanguageModel | None
    prompt_spec: LanguageModelSpec | None
    overlaps: tuple[dict[str, Any], ...] = field(default=())

    @property
    def plan(self) -> Plan:
        return self.proposal.plan

    @property
    def n_training(self) -> int:
        return self.parts.training_size if self.parts else self.training.size

    @property
    def n_validation(self) -> int:
        return self.parts.validation_size if self.parts else self._validation_size()

    @property
    def models(self) -> list[LanguageModelSpec]:
        """All that may be asked."""
        return [*self.plan.models.values(), *([self.prompt_spec] if self.prompt_spec else [])]

    def _validation_size(self) -> int:
        return self.validation.size if self.validation else 0


def asked(
    *, actor: User, program: Program, dataset: Dataset, metric: Metric, optimizer: str, options: CompileOptions
) -> Asked:
    """Check what can be known before a compile begins. Reads rows, stores nothing but a first prompt set.

    Raises what `compile_program` raises, but for the budget's size.
    """
    compile_policy.check(actor, "compile", program)
    validation = options.get("validation_set")
    for row in (dataset, validation):
        if row is not None:
            dataset_policy.check(actor, "view", row)
    name = optimizer_named(optimizer)
    params = _checked_params(name, options.get("params") or {})
    budget, seed = budget_of(options.get("budget")), _checked_seed(options.get("seed", 0))
    _check_datasets(dataset, validation)
    prompt_set = choose_prompt_set(program)
    # Of a validation set that is yet to be split off, the whole training set tells.
    proposal = _judging(actor, program, prompt_set, metric, [dataset, *([validation] if validation else [])])
    wanted = Asked(
        program=program,
        prompt_set=prompt_set,
        training=dataset,
        validation=validation,
        parts=None if validation else parts_of(dataset, seed),
        metric=metric,
        proposal=proposal,
        optimizer=name,
        params=params,
        budget=budget,
        seed=seed,
        prompt_model=options.get("prompt_model"),
        prompt_spec=_prompt_spec(actor, options.get("prompt_model")),
        overlaps=tuple(_overlaps(actor, dataset, validation)),
    )
    _refuse_impossible(wanted)
    return wanted


def models_of(plan: Plan) -> dict[str, LanguageModelSpec]:
    """The language models of a plan with a default one, also where every module names its own."""
    models = dict(plan.models)
    if DEFAULT not in models and models:
        models[DEFAULT] = next(iter(models.values()))
    return models


def _checked_params(name: OptimizerName, params: Any) -> Params:
    if not isinstance(params, Mapping):
        problem = Problem("not_an_object", _("Parameters are an object."), "optimizer.params")
        raise errors.optimizer_params_invalid([problem])
    refuse_unstorable(dict(params), "params")
    try:
        checked: Params = checked_params(name, params)
    except Invalid as refusal:
        raise errors.optimizer_params_invalid([_in_params(item) for item in refusal.problems]) from None
    return checked


def _checked_seed(seed: int) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
        message = _("A seed is a whole number from 0 to %(most)d.") % {"most": MAX_SEED}
        raise Invalid("seed_invalid", message, field="seed")
    return seed


def _check_datasets(training: Dataset, validation: Dataset | None) -> None:
    """The two must be ready, different, and neither of them sealed."""
    for row, name in ((training, "dataset"), (validation, "validation_set")):
        if row is None:
            continue
        if row.type == DatasetType.TEST:
            raise errors.dataset_sealed(name)
        if row.state != VersionState.READY:
            raise dataset_importing()
    if training.type != DatasetType.TRAINING:
        raise Invalid("dataset_not_for_training", _("Take a dataset of type training."), field="dataset")
    if validation is not None and validation.content_hash == training.content_hash:
        raise errors.same_dataset()


def _judging(actor: User, program: Program, prompt_set: PromptSet, metric: Metric, sets: Sequence[Dataset]) -> Proposal:
    """The evaluation of the baseline, on the last of `sets`; all of them have to fit the program and the metric."""
    proposals = [
        propose(actor=actor, program=program, dataset=row, metrics=[metric], prompt_set=prompt_set) for row in sets
    ]
    return proposals[-1]


def _prompt_spec(actor: User, model: LanguageModel | None) -> LanguageModelSpec | None:
    if model is None:
        return None
    language_model_policy.check(actor, "view", model)
    if model.kind != LanguageModelKind.CHAT or not model.is_enabled:
        raise Invalid("prompt_model_invalid", _("Take an enabled chat model."), field="prompt_model")
    return language_model_spec(model)


def _overlaps(actor: User, training: Dataset, validation: Dataset | None) -> Iterable[dict[str, Any]]:
    """Examples that the sets have in common with test sets, and with each other, by content."""
    for row in (training, validation):
        if row is not None:
            for found in overlap(actor=actor, dataset=row):
                if found.sealed:
                    yield _overlap(row, f"{found.name}/{found.type}@{found.version}", found.shared, is_sealed=True)
    if validation is not None:
        for found in overlap(actor=actor, dataset=validation, others=[training]):
            yield _overlap(validation, str(training), found.shared, is_sealed=False)


def _overlap(row: Dataset, other: str, shared: int, *, is_sealed: bool) -> dict[str, Any]:
    return {"dataset": str(row), "other": other, "shared": shared, "sealed": is_sealed}


def _refuse_impossible(wanted: Asked) -> None:
    """Raise `Invalid` with everything that keeps this compile from making sense."""
    found = problems_of_compile(
        wanted.plan.built,
        wanted.optimizer,
        wanted.params,
        n_train=wanted.n_training,
        n_val=wanted.n_validation,
        models=wanted.models,
        limits=Budget(),  # an unknown price is refused with the estimate, in its own words
    )
    problems = [_in_params(item) if item.code == OF_PARAMS else item for item in found]
    if not problems:
        return
    if problems[0].code == OF_PARAMS:
        raise errors.optimizer_params_invalid(problems)
    raise errors.compile_impossible(problems)


def _in_params(problem: Problem) -> Problem:
    """A problem of a parameter, which is named by its place in the request."""
    field = f"optimizer.params.{problem.field}" if problem.field else "optimizer.params"
    return Problem(problem.code, problem.message, field)
