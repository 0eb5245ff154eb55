"""The verbs of metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict, Unpack

from django.db import IntegrityError, transaction
from django.db.models import Max, ProtectedError
from django.utils import timezone
from django.utils.translation import gettext as _

from executions.errors import metric_exists, metric_failed, metric_frozen, metric_in_use, metric_not_found
from executions.models import Metric
from executions.policies import metric_policy
from executions.runtime.metrics import MetricFailed, Score, problems_of_config, problems_of_metric
from executions.selectors.metrics import metric_spec
from executions.services.scoring import PROMPT_SET, metric_ports, refuse_unusable, scorer_of
from executions.services.trials import charged_for
from executions.types import MetricKind
from mlops.errors import Problem, all_of
from mlops.models import LanguageModel, User
from mlops.models.base import new_id
from mlops.runtime.recorder import Recorder, recording
from mlops.services.credits import Subject
from mlops.services.history import delete_with_history, save_with_history
from mlops.services.locking import locked
from mlops.services.paying import paying
from mlops.services.reverting import revertible
from mlops.types import LanguageModelKind
from mlops.verbs import verb
from programs.models import Program
from programs.services import choose_prompt_set
from programs.services.checks import check_name, check_text
from programs.types import ProgramStatus


class MetricChanges(TypedDict, total=False):
    """What can be changed of a metric; all but `description` only until something was scored with it."""

    description: str
    kind: MetricKind | str
    config: Mapping[str, Any]
    judge_program: Program | None
    language_model: LanguageModel | None


@verb(metric_policy, "create")
def create_metric(
    *,
    actor: User,
    name: str,
    kind: MetricKind | str,
    config: Mapping[str, Any] | None = None,
    description: str = "",
    judge_program: Program | None = None,
    language_model: LanguageModel | None = None,
) -> Metric:
    """Version 1 of a metric. A judge's prompts are pinned as they are now.

    Raises `Forbidden`, `Invalid` (`name_invalid`, `metric_invalid` with every problem) and `Conflict`
    (`metric_exists`).
    """
    metric_policy.check(actor, "create")
    check_name(name)
    metric = Metric(name=name)
    changes = MetricChanges(
        description=description,
        kind=kind,
        config={} if config is None else config,
        judge_program=judge_program,
        language_model=language_model,
    )
    _apply(metric, changes, actor=actor)
    if Metric.objects.filter(name=name).exists():
        raise metric_exists()
    return _saved(metric, actor=actor, reason="create")


@verb(metric_policy, "change")
def update_metric(*, actor: User, metric: Metric, **changes: Unpack[MetricChanges]) -> Metric:
    """Change a metric: its description at any time, the rest until something was scored with it.

    Raises `Forbidden`, `Invalid` (`metric_invalid`) and `Conflict` (`metric_frozen`: make a new version).
    """
    metric_policy.check(actor, "change", metric)
    with transaction.atomic():
        current = locked(metric)
        if current.frozen_at is not None and changes.keys() - {"description"}:
            raise metric_frozen()
        _apply(current, changes, actor=actor)
        return save_with_history(current, actor=actor, reason="update")


@verb(metric_policy, "new_version")
def new_metric_version(*, actor: User, metric: Metric, **changes: Unpack[MetricChanges]) -> Metric:
    """The next version of a metric: a copy with the changes. What was scored keeps the version that it names.

    Raises `Forbidden`, `NotFound` and `Invalid` (`metric_invalid`).
    """
    metric_policy.check(actor, "new_version", metric)
    version = Metric(
        name=metric.name,
        description=metric.description,
        kind=metric.kind,
        config=metric.config,
        judge_program=metric.judge_program,
        language_model=metric.language_model,
    )
    _apply(version, changes, actor=actor)
    with transaction.atomic():
        # The oldest version stands for the name: whoever holds its lock decides what the next number is.
        named = Metric.objects.filter(name=metric.name).order_by("version")
        if not list(named.select_for_update()[:1]):
            raise metric_not_found()
        version.version = named.aggregate(latest=Max("version"))["latest"] + 1
        return _saved(version, actor=actor, reason="new_version")


@verb(metric_policy, "freeze")
def freeze_metric(*, actor: User, metric: Metric) -> Metric:
    """Something is scored with the metric from now on, so it stays as it is. Repeating is harmless.

    Raises `Forbidden`.
    """
    metric_policy.check(actor, "freeze", metric)
    with transaction.atomic():
        current = locked(metric)
        if current.frozen_at is None:
            current.frozen_at = timezone.now()
            save_with_history(current, actor=actor, reason="freeze", update_fields=["frozen_at"])
    return current


@verb(metric_policy, "delete")
def delete_metric(*, actor: User, metric: Metric) -> None:
    """Delete a metric with which nothing was scored. Raises `Forbidden` and `Conflict` (`metric_in_use`)."""
    metric_policy.check(actor, "delete", metric)
    with transaction.atomic():
        current = locked(metric, to_delete=True)
        if current.frozen_at is not None:
            raise metric_in_use()
        try:
            delete_with_history([current], actor=actor, reason="delete")
        except ProtectedError:
            raise metric_in_use() from None


@verb(metric_policy, "try")
def try_metric(*, actor: User, metric: Metric, example: Mapping[str, Any], output: Mapping[str, Any]) -> Score:
    """The score of one output for one example, so that people see the feedback. Nothing is kept.

    What a judge or an embedding model costs is charged to the actor and counts to budgets. Raises `Forbidden`,
    `NotFound` for a judge that the actor may not have asked, `Invalid` (`metric_failed` with the reason) and
    `InsufficientCredits` (`price_unknown`, `budget_exhausted`, `insufficient_credits`).
    """
    metric_policy.check(actor, "try", metric)
    refuse_unusable(actor=actor, metric=metric)
    ready, recorder = scorer_of(metric), Recorder()
    charged = charged_for(user=actor, metric=metric, example=example, output=output)
    key, subject = f"metric-try:{new_id()}", Subject("metric", metric.pk)
    with paying(user=actor, charged=charged, key=key, subject=subject, recorder=recorder), recording(recorder):
        try:
            return ready.score(example, output)
        except MetricFailed as failure:
            raise metric_failed(str(failure)) from None


def _apply(metric: Metric, changes: MetricChanges, *, actor: User) -> None:
    """Set the changes and check the whole metric. Raises `Invalid` (`metric_invalid` with every problem)."""
    for name, value in changes.items():
        setattr(metric, name, value)
    check_text(metric.description, "description")
    if changes.keys() <= {"description"}:
        return
    _refuse(list(_problems_of_columns(metric)))
    refuse_unusable(actor=actor, metric=metric)
    metric.config = dict(metric.config)
    if metric.judge_program is not None:
        _pin_prompts(metric, metric.judge_program, is_new="judge_program" in changes and "config" not in changes)
    _refuse(problems_of_metric(metric_spec(metric), metric_ports(metric)))


def _problems_of_columns(metric: Metric) -> Iterator[Problem]:
    """What is wrong before anything is built."""
    if metric.kind not in list(MetricKind):
        yield Problem("unknown_kind", _("There is no such kind of metric."), "kind")
        return
    yield from problems_of_config(MetricKind(metric.kind), metric.config)
    if (metric.judge_program is not None) != (metric.kind == MetricKind.JUDGE):
        yield _wanted_or_not("judge_program", is_given=metric.judge_program is not None)
    elif metric.judge_program is not None and metric.judge_program.status == ProgramStatus.DRAFT:
        yield Problem("program_not_frozen", _("A judge has left draft, so that it stays as it is."), "judge_program")
    if (metric.language_model is not None) != (metric.kind == MetricKind.SEMANTIC_SIMILARITY):
        yield _wanted_or_not("language_model", is_given=metric.language_model is not None)
    elif metric.language_model is not None and metric.language_model.kind != LanguageModelKind.EMBEDDING:
        yield Problem("wrong_kind", _("Not an embedding model."), "language_model")


def _wanted_or_not(field: str, *, is_given: bool) -> Problem:
    if is_given:
        return Problem("not_used", _("Metrics of this kind have none."), field)
    return Problem("required", _("Metrics of this kind need one."), field)


def _pin_prompts(metric: Metric, judge: Program, *, is_new: bool) -> None:
    if is_new or not metric.config.get(PROMPT_SET):
        metric.config[PROMPT_SET] = str(choose_prompt_set(judge).pk)


def _refuse(problems: Sequence[Problem]) -> None:
    if problems:
        raise all_of(problems, code="metric_invalid", message=_("The metric cannot be used."))


def _saved(metric: Metric, *, actor: User, reason: str) -> Metric:
    try:
        with transaction.atomic():
            return save_with_history(metric, actor=actor, reason=reason)
    except IntegrityError:
        raise metric_exists() from None


revertible(
    Metric,
    ("description", "kind", "config", "judge_program", "language_model"),
    lambda actor, row, changes: update_metric(actor=actor, metric=row, **changes),
)
