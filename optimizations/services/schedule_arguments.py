"""What a schedule starts: its arguments, read again for each run, as the rows that they name then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Literal
from uuid import UUID

from django.utils.translation import gettext as _
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from datasets.errors import dataset_not_found
from datasets.models import Dataset
from datasets.selectors import access_dataset
from datasets.types import DatasetType
from executions.selectors import access_metric
from executions.services.evaluations.proposals import propose
from mlops.errors import DomainError, Invalid, NotFound, Problem, all_of
from mlops.models import User
from mlops.money import from_decimal
from mlops.sanitiser import refuse_unstorable
from mlops.types import PICO_PER_USD
from optimizations.services.asking import asked
from optimizations.types import Budget
from programs.models import Program
from programs.selectors import access_language_model, access_program

COMPILE, EVALUATE = "compile", "evaluate"

Reference = Annotated[str, Field(min_length=1, max_length=100)]
Optional = Annotated[str, Field(max_length=100)]


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Limits(_Arguments):
    """A budget as it is written: `cost_usd` as a decimal number in a string."""

    cost_usd: str | None = None
    calls: int | None = None
    tokens: int | None = None
    seconds: float | None = None

    def as_budget(self) -> Budget:
        cost = None if self.cost_usd is None else from_decimal(self.cost_usd, PICO_PER_USD, field="budget.cost_usd")
        return Budget(cost=cost, calls=self.calls, tokens=self.tokens, seconds=self.seconds)


class OptimizerArguments(_Arguments):
    name: Reference
    params: dict[str, Any] = {}


class CompileArguments(_Arguments):
    """Datasets by id, or by name: then each run takes the newest version of type training, or validation."""

    program: Reference
    dataset: Reference
    validation_set: Optional = ""
    metric: Reference
    optimizer: OptimizerArguments
    budget: Limits = Limits()
    seed: int = 0
    prompt_model: Optional = ""

    def rows(self, owner: User) -> dict[str, Any]:
        """The arguments of `compile_program`."""
        with _at("program"):
            program = access_program(actor=owner, ref=self.program)
        with _at("dataset"):
            dataset = _dataset(owner, self.dataset, DatasetType.TRAINING)
        with _at("metric"):
            metric = access_metric(actor=owner, ref=self.metric)
        found: dict[str, Any] = {"program": program, "dataset": dataset, "metric": metric}
        if self.validation_set:
            with _at("validation_set"):
                found["validation_set"] = _dataset(owner, self.validation_set, DatasetType.VALIDATION)
        if self.prompt_model:
            with _at("prompt_model"):
                found["prompt_model"] = access_language_model(actor=owner, ref=self.prompt_model)
        return {
            **found,
            "optimizer": self.optimizer.name,
            "params": self.optimizer.params,
            "budget": self.budget.as_budget(),
            "seed": self.seed,
        }


class EvaluateArguments(_Arguments):
    """The dataset by id, or by name: then each run takes the newest version of `type`."""

    program: Reference
    dataset: Reference
    type: Literal["training", "validation", "test"] = "test"
    metrics: Annotated[list[Reference], Field(min_length=1, max_length=20)]
    budget: Limits = Limits()
    language_model: Optional = ""

    def rows(self, owner: User) -> dict[str, Any]:
        """The arguments of `evaluate_program`."""
        with _at("program"):
            program = access_program(actor=owner, ref=self.program)
        with _at("dataset"):
            dataset = _dataset(owner, self.dataset, DatasetType(self.type))
        with _at("metrics"):
            metrics = [access_metric(actor=owner, ref=ref) for ref in self.metrics]
        found: dict[str, Any] = {"program": program, "dataset": dataset, "metrics": metrics}
        if self.language_model:
            with _at("language_model"):
                found["language_model"] = access_language_model(actor=owner, ref=self.language_model)
        return {**found, "budget": self.budget.as_budget()}


SHAPES: dict[str, type[CompileArguments | EvaluateArguments]] = {
    COMPILE: CompileArguments,
    EVALUATE: EvaluateArguments,
}


def check_arguments(*, owner: User, verb: str, arguments: Mapping[str, Any]) -> Program:
    """Whether `verb` could be started with `arguments` by `owner` now, as the verb itself looks at it; the program that
    they name.

    Raises `Invalid` (`arguments_invalid` with every problem of their shape) and what the verb refuses; fields are
    named from `arguments` on.
    """
    with _at("arguments"):
        given = rows_of(owner=owner, verb=verb, arguments=arguments)
        program: Program = given["program"]
        if verb == EVALUATE:
            propose(actor=owner, **given)
            return program
        positional = {name: given.pop(name) for name in ("program", "dataset", "metric", "optimizer")}
        asked(actor=owner, **positional, options=given)  # type: ignore[arg-type]  # the keys are those of CompileOptions
        return program


def rows_of(*, owner: User, verb: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What the verb is called with. Raises `Invalid` (`arguments_invalid`), `NotFound` and `Forbidden`."""
    return _shaped(verb, arguments).rows(owner)


def _shaped(verb: str, arguments: Mapping[str, Any]) -> CompileArguments | EvaluateArguments:
    refuse_unstorable(arguments)
    try:
        return SHAPES[verb].model_validate(arguments)
    except ValidationError as error:
        problems = [_problem(item) for item in error.errors(include_url=False, include_context=False)]
        raise all_of(problems, code="arguments_invalid", message=_("These arguments do not fit the verb.")) from None


def _problem(error: ErrorDetails) -> Problem:
    field = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return Problem("unknown_field", _("There is no such argument."), field)
    if error["type"] == "missing":
        return Problem("required", _("This argument is required."), field)
    return Problem("invalid_value", error["msg"], field)


def _dataset(owner: User, ref: str, kind: DatasetType) -> Dataset:
    """The dataset of an id, or the newest version of a name. Raises `NotFound` (`dataset_not_found`)."""
    try:
        return access_dataset(actor=owner, dataset_id=UUID(ref))
    except ValueError:
        named = Dataset.objects.visible_to(owner).ready().filter(name=ref, type=kind)
        newest: Dataset | None = named.order_by("-version").first()
    if newest is None:
        raise dataset_not_found()
    return newest


@contextmanager
def _at(path: str) -> Iterator[None]:
    """Name the fields of refusals from `path` on; what is missing there is a mistake in the arguments."""
    try:
        yield
    except DomainError as error:
        problems = [
            Problem(item.code, item.message, f"{path}.{item.field}" if item.field else path) for item in error.problems
        ]
        kind = Invalid if isinstance(error, NotFound) else type(error)
        raise kind(error.code, error.message, field=problems[0].field, problems=problems, extra=error.extra) from None
