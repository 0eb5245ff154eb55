"""The admin page of metrics: one form for every kind, with a config to begin with, and a button to try it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextareaWidget

from executions.admin.trace import pretty
from executions.models import Metric
from executions.policies import metric_policy
from executions.services import metrics as services
from executions.services.scoring import kinds_of_metrics, range_of
from mlops.admin.base import RecordAdmin, actor_of
from mlops.admin.buttons import button
from mlops.errors import Invalid, all_of
from mlops.models import LanguageModel
from mlops.types import LanguageModelKind
from programs.models import Program
from programs.types import ProgramStatus

CONTENT = ("kind", "config", "judge_program", "language_model")


class TryDialog(BaseDialogForm):  # type: ignore[misc]  # unfold has no types
    """An example and an output, as JSON objects."""

    example = forms.JSONField(
        label=_("Example"),
        help_text=_('Inputs and expected values, such as {"question": "...", "answer": "Paris"}.'),
        widget=UnfoldAdminTextareaWidget({"rows": 4}),
    )
    output = forms.JSONField(
        label=_("Output"),
        help_text=_('What a program gave, such as {"answer": "Rome"}.'),
        widget=UnfoldAdminTextareaWidget({"rows": 4}),
    )

    def clean_example(self) -> Any:
        return _object(self.cleaned_data["example"])

    def clean_output(self) -> Any:
        return _object(self.cleaned_data["output"])


def _object(value: Any) -> Any:
    if not isinstance(value, dict):
        raise forms.ValidationError(_("A JSON object is needed."))
    return value


def _new_version(request: HttpRequest, row: Metric, data: dict[str, Any]) -> str:
    created = services.new_metric_version(actor=actor_of(request), metric=row)
    return reverse("admin:executions_metric_change", args=[created.pk])


def _try(request: HttpRequest, row: Metric, data: dict[str, Any]) -> None:
    score = services.try_metric(actor=actor_of(request), metric=row, example=data["example"], output=data["output"])
    messages.info(
        request, _now("Score %(score)s. %(feedback)s") % {"score": f"{score.value:g}", "feedback": score.feedback}
    )


def _freeze(request: HttpRequest, row: Metric, data: dict[str, Any]) -> None:
    services.freeze_metric(actor=actor_of(request), metric=row)


class MetricForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    class Meta:
        model = Metric
        fields = ("name", "description", *CONTENT)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if "config" in self.fields:
            self.fields["config"].help_text = configs_to_begin_with()

    def clean_config(self) -> Any:
        """An emptied field is an empty config."""
        return {} if self.cleaned_data["config"] is None else self.cleaned_data["config"]


def configs_to_begin_with() -> SafeString:
    """For every kind what it does, and a config as it is typed."""
    told = format_html_join(
        "",
        "<p><strong>{}</strong>: {} {}</p>",
        ((kind["kind"], kind["description"], pretty(kind["example"])) for kind in kinds_of_metrics()),
    )
    return format_html("<details><summary>{}</summary>{}</details>", _("What each kind scores, with a config"), told)


@contextmanager
def _at_config() -> Iterator[None]:
    """What is wrong within the config is said at its field, with the path."""
    try:
        yield
    except Invalid as refusal:
        problems = [
            replace(one, field="config", message=f"{one.field.removeprefix('config.')}: {one.message}")
            if one.field.startswith("config.")
            else one
            for one in refusal.problems
        ]
        raise all_of(problems, code=refusal.code, message=refusal.message) from None


@admin.register(Metric)
class MetricAdmin(RecordAdmin):
    """Everything can be changed until something was scored with the metric; then only what people read about it."""

    policy = metric_policy
    add_action, change_action, delete_action = "create", "change", "delete"
    form = MetricForm
    list_display = ("name", "version", "kind", "range_text", "frozen_at", "created_at")
    list_filter = ("kind", ("frozen_at", admin.EmptyFieldListFilter))
    search_fields = ("name", "description")
    fields = ("name", "version", "kind", "description", "range_text", *CONTENT[1:], "frozen_at")
    readonly_fields = ("version", "range_text", "frozen_at")
    buttons = ("try_out", "new_version", "freeze")

    try_out = button(
        "try_out", _("Try"), _try, action="try", form_class=TryDialog, done=_("Nothing was kept."), icon="science",
        description=_("Scores one output; nothing is kept. What a judge costs is charged to you."),
    )  # fmt: skip
    new_version = button(
        "new_version", _("New version"), _new_version, icon="content_copy",
        description=_("A copy that can be changed. What was scored keeps the version that it names."),
    )  # fmt: skip
    freeze = button(
        "freeze", _("Freeze"), _freeze, available=lambda row: row.frozen_at is None, icon="lock",
        description=_("It stays as it is from now on."),
    )  # fmt: skip

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return self.fields if obj else ("name", "description", *CONTENT)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        if obj is None:
            return self.readonly_fields
        return (*self.readonly_fields, "name", *(CONTENT if obj.frozen_at else ()))

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **options: Any) -> Any:
        """Judges have left draft, and only embedding models embed."""
        choices: dict[str, QuerySet[Any]] = {
            "judge_program": Program.objects.visible_to(request.user).exclude(status=ProgramStatus.DRAFT.value),
            "language_model": LanguageModel.objects.visible_to(request.user).filter(kind=LanguageModelKind.EMBEDDING),
        }
        if db_field.name in choices:
            options["queryset"] = choices[db_field.name]
        return super().formfield_for_foreignkey(db_field, request, **options)

    def perform_create(self, request: HttpRequest, fields: dict[str, Any]) -> Metric:
        with _at_config():
            return services.create_metric(actor=actor_of(request), **fields)

    def perform_update(self, request: HttpRequest, row: Metric, fields: dict[str, Any]) -> Metric:
        with _at_config():
            return services.update_metric(actor=actor_of(request), metric=row, **fields)

    def perform_delete(self, request: HttpRequest, row: Metric) -> None:
        services.delete_metric(actor=actor_of(request), metric=row)

    @admin.display(description=_("range"))
    def range_text(self, row: Metric) -> str:
        found = range_of(row)
        return "-" if found is None else str(found)
