"""By what lists of this app are filtered, on every edge."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import django_filters
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.db.models.fields.json import KeyTransform
from django.utils.translation import gettext as _

from executions.models import (
    CostCorrection,
    Evaluation,
    EvaluationItem,
    EvaluationScore,
    Execution,
    Feedback,
    Metric,
    Repricing,
)
from executions.models.executions import MODE_CHOICES, SOURCE_CHOICES, STATE_CHOICES
from executions.models.metrics import METRIC_KIND_CHOICES
from executions.selectors.lineage import (
    executions_of,
    sets_with_dataset,
    sets_with_demo,
    sets_with_example,
    sets_with_prompt_version,
)
from mlops.errors import Invalid
from mlops.filters import AnyOfFilter
from mlops.models.jobs import STATE_CHOICES as JOB_STATE_CHOICES

SETS_WITH: dict[str, Callable[[Any, Any], Any]] = {
    "prompt_version": sets_with_prompt_version,
    "demo": sets_with_demo,
    "example": sets_with_example,
    "dataset": sets_with_dataset,
}
"""Which prompt sets had something to do with what a filter names."""


def within_the_calendar(moment: datetime) -> None:
    """Refuse what has no year in UTC: `0001-01-01T00:00:00+14:00`."""
    try:
        moment.astimezone(UTC)
    except OverflowError:
        raise ValidationError(_("Enter a valid date/time."), code="invalid") from None


class ExecutionFilter(django_filters.FilterSet):  # type: ignore[misc]  # django-filter ships no types
    """`program` is a program's id or name; `after` and `before` bound the time of creation."""

    program = django_filters.CharFilter(method="of_program")
    state = AnyOfFilter(choices=STATE_CHOICES)
    mode = django_filters.ChoiceFilter(choices=MODE_CHOICES)
    source = django_filters.ChoiceFilter(choices=SOURCE_CHOICES)
    user = django_filters.UUIDFilter(field_name="user_id")
    prompt_set = django_filters.UUIDFilter(field_name="prompt_set_id")
    prompt_version = django_filters.UUIDFilter(method="of_prompts", help_text="Those that used this prompt version.")
    demo = django_filters.CharFilter(method="of_prompts", help_text="Those that used a demo of this digest.")
    example = django_filters.UUIDFilter(method="of_prompts", help_text="Those that used a demo made of this example.")
    dataset = django_filters.UUIDFilter(
        method="of_prompts",
        help_text="Those that used a demo made of an example of this dataset version, or a prompt that a compile job "
        "found with it.",
    )
    replay_of = django_filters.UUIDFilter(field_name="replay_of_id")
    error_code = django_filters.CharFilter()
    after = django_filters.IsoDateTimeFilter(
        field_name="created_at", lookup_expr="gte", validators=[within_the_calendar]
    )
    before = django_filters.IsoDateTimeFilter(
        field_name="created_at", lookup_expr="lt", validators=[within_the_calendar]
    )

    class Meta:
        model = Execution
        fields: list[str] = []

    def of_prompts(self, rows: QuerySet[Any], name: str, value: Any) -> QuerySet[Any]:
        return executions_of(rows, SETS_WITH[name](self.request.user, value))

    def of_program(self, rows: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        try:
            return rows.filter(program_id=UUID(value))
        except ValueError:
            return rows.filter(program__name=value)


class FeedbackFilter(django_filters.FilterSet):  # type: ignore[misc]  # django-filter ships no types
    execution = django_filters.UUIDFilter(field_name="execution_id")
    name = django_filters.CharFilter()

    class Meta:
        model = Feedback
        fields: list[str] = []


class EvaluationFilter(django_filters.FilterSet):  # type: ignore[misc]  # django-filter ships no types
    """`program` and `dataset` are ids or names; `after` and `before` bound the time of creation."""

    program = django_filters.CharFilter(method="of_named")
    dataset = django_filters.CharFilter(method="of_named")
    metric = django_filters.UUIDFilter(field_name="metrics")
    state = AnyOfFilter(choices=JOB_STATE_CHOICES)
    user = django_filters.UUIDFilter(field_name="user_id")
    source = django_filters.UUIDFilter(field_name="source_id")
    after = django_filters.IsoDateTimeFilter(
        field_name="created_at", lookup_expr="gte", validators=[within_the_calendar]
    )
    before = django_filters.IsoDateTimeFilter(
        field_name="created_at", lookup_expr="lt", validators=[within_the_calendar]
    )

    class Meta:
        model = Evaluation
        fields: tuple[str, ...] = ()

    def of_named(self, rows: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        try:
            return rows.filter(**{f"{name}_id": UUID(value)})
        except ValueError:
            return rows.filter(**{f"{name}__name": value})


class EvaluationItemFilter(django_filters.FilterSet):  # type: ignore[misc]  # django-filter ships no types
    """`error` is a code, or `true` or `false` for any or none; `max_score` is of `metric`, by default of the first."""

    evaluation = django_filters.UUIDFilter(field_name="evaluation_id")
    example = django_filters.UUIDFilter(field_name="example_id")
    error = django_filters.CharFilter(method="of_error")
    metric = django_filters.CharFilter(method="as_it_is")
    max_score = django_filters.NumberFilter(method="of_score")

    class Meta:
        model = EvaluationItem
        fields: tuple[str, ...] = ()

    def of_error(self, rows: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        if value in ("true", "false"):
            return rows.exclude(error_code="") if value == "true" else rows.filter(error_code="")
        return rows.filter(error_code=value)

    def as_it_is(self, rows: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        return rows

    def of_score(self, rows: QuerySet[Any], name: str, value: Any) -> QuerySet[Any]:
        given = self.form.cleaned_data
        evaluation = given.get("evaluation")
        if evaluation is None:
            raise Invalid("required", _("Say of which evaluation."), field="evaluation")
        scores = EvaluationScore.objects.filter(evaluation=evaluation).order_by("position")
        metric = given.get("metric") or scores.values_list("metric__name", flat=True).first()
        if metric is None:
            return rows.none()
        scored = rows.annotate(its_score=KeyTransform(metric, "scores"))
        poor: QuerySet[Any] = scored.filter(its_score__lte=float(value))
        return poor


class MetricFilter(django_filters.FilterSet):  # type: ignore[misc]  # django-filter ships no types
    name = django_filters.CharFilter()
    kind = django_filters.ChoiceFilter(choices=METRIC_KIND_CHOICES)
    version = django_filters.NumberFilter()
    frozen = django_filters.BooleanFilter(field_name="frozen_at", lookup_expr="isnull", exclude=True)

    class Meta:
        model = Metric
        fields: tuple[str, ...] = ()


class RepricingFilter(django_filters.FilterSet):  # type: ignore[misc]  # django-filter ships no types
    state = AnyOfFilter(choices=JOB_STATE_CHOICES)
    dry_run = django_filters.BooleanFilter()
    preview = django_filters.UUIDFilter(field_name="preview_id")

    class Meta:
        model = Repricing
        fields: tuple[str, ...] = ()


class CostCorrectionFilter(django_filters.FilterSet):  # type: ignore[misc]  # django-filter ships no types
    repricing = django_filters.UUIDFilter(field_name="repricing_id")
    execution = django_filters.UUIDFilter(field_name="execution_id")

    class Meta:
        model = CostCorrection
        fields: tuple[str, ...] = ()
