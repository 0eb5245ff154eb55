"""Schedules in the admin site. The rows of django-celery-beat are not shown: they would let people run any task."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from mlops.admin.base import RecordAdmin, actor_of
from mlops.admin.buttons import button
from mlops.errors import DomainError
from optimizations.models import Schedule
from optimizations.policies import schedule_policy
from optimizations.services import running_schedules, schedules

for _model in (PeriodicTask, CrontabSchedule, IntervalSchedule, SolarSchedule, ClockedSchedule):
    if admin.site.is_registered(_model):
        admin.site.unregister(_model)

EXAMPLE = (
    '{"program": "triage@production", "dataset": "support_messages", "metric": "intent_match", '
    '"optimizer": {"name": "labeled_few_shot", "params": {"k": 64}}, "budget": {"cost_usd": "2.50"}}'
)


class ScheduleForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    time_zone = forms.ChoiceField(
        label=_("Time zone"),
        choices=lambda: [(name, name) for name in sorted(zoneinfo.available_timezones())],
        initial="UTC",
        widget=UnfoldAdminSelectWidget,
    )
    arguments = forms.JSONField(
        label=_("Arguments"),
        initial=dict,
        widget=UnfoldAdminTextareaWidget({"rows": 8}),
        help_text=format_html(
            "{} <code>{}</code>",
            _(
                "Of compile: program, dataset, metric, optimizer, and if wanted validation_set, budget, seed, "
                "prompt_model. Of evaluate: program, dataset, metrics (a list), and if wanted type, budget, "
                "language_model. A dataset by its name: each run takes its newest version. For example:"
            ),
            EXAMPLE,
        ),
    )

    class Meta:
        model = Schedule
        fields = ("name", "verb", "arguments", "crontab", "time_zone", "is_enabled", "deploy_if_better")


def _run(request: HttpRequest, row: Schedule, data: dict[str, Any]) -> None:
    running_schedules.run_schedule_now(actor=actor_of(request), schedule=row)


@contextmanager
def _at_arguments() -> Iterator[None]:
    """What is wrong within the arguments is said at their field, with the path."""
    try:
        yield
    except DomainError as error:
        problems = [
            replace(one, field="arguments", message=f"{one.field.removeprefix('arguments.')}: {one.message}")
            if one.field.startswith("arguments.")
            else one
            for one in error.problems
        ]
        raise type(error)(error.code, error.message, field=problems[0].field, problems=problems) from None


@admin.register(Schedule)
class ScheduleAdmin(RecordAdmin):
    """Whoever changes what a schedule does, or when, becomes its owner: it runs with the owner's rights and credits."""

    policy = schedule_policy
    add_action, change_action, delete_action = "create", "change", "delete"
    form = ScheduleForm
    list_display = ("name", "verb", "crontab", "time_zone", "is_enabled", "user", "last_run_at", "last_result")
    list_filter = ("verb", "is_enabled")
    list_select_related = ("user",)
    search_fields = ("name",)
    fieldsets = (
        (None, {"fields": ("name", "verb", "arguments", "deploy_if_better")}),
        (_("When"), {"fields": ("crontab", "time_zone", "is_enabled")}),
        (_("Last run"), {"fields": ("user", "last_run_at", "started", "last_result", "last_error")}),
    )
    add_fieldsets = fieldsets[:2]
    readonly_fields = ("user", "last_run_at", "started", "last_result", "last_error")
    buttons = ("run",)

    run = button(
        "run",
        _("Run now"),
        _run,
        description=_("Starts it now, with the rights and at the cost of its owner, whatever its crontab says."),
        done=_("Started."),
        icon="play_arrow",
    )

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fieldsets if obj else self.add_fieldsets

    def perform_create(self, request: HttpRequest, fields: dict[str, Any]) -> Schedule:
        with _at_arguments():
            return schedules.create_schedule(actor=actor_of(request), **fields)

    def perform_update(self, request: HttpRequest, row: Schedule, fields: dict[str, Any]) -> Schedule:
        with _at_arguments():
            return schedules.change_schedule(actor=actor_of(request), schedule=row, **fields)

    def perform_delete(self, request: HttpRequest, row: Schedule) -> None:
        schedules.delete_schedule(actor=actor_of(request), schedule=row)

    @admin.display(description=_("started"))
    def started(self, row: Schedule) -> str:
        if row.last_id is None:
            return "-"
        app_label = "executions" if row.last_kind == "evaluation" else "optimizations"
        try:
            address = reverse(f"admin:{app_label}_{row.last_kind}_change", args=[row.last_id])
        except NoReverseMatch:
            return f"{row.last_kind} {row.last_id}"
        return format_html('<a href="{}">{} {}</a>', address, row.last_kind, row.last_id)
