"""Filters of the lists of executions and feedback."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import django_filters
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from executions.models import Execution, Feedback
from executions.models.executions import MODE_CHOICES, SOURCE_CHOICES, STATE_CHOICES
from executions.selectors.lineage import (
    executions_of,
    sets_with_dataset,
    sets_with_demo,
    sets_with_example,
    sets_with_prompt_version,
)

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
    state = django_filters.MultipleChoiceFilter(choices=STATE_CHOICES)
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
