"""Asking for an evaluation on the page of a program."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _
from unfold.forms import BaseDialogForm
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectMultipleWidget,
    UnfoldAdminSelectWidget,
)

from datasets.models import Dataset
from executions.admin.trace import usd
from executions.models import Evaluation, Metric
from executions.policies import evaluating_policy
from executions.services import estimate_evaluation, evaluate_program
from mlops.admin import links
from mlops.admin.base import actor_of
from mlops.admin.buttons import button
from mlops.admin.forms import ScaledDecimalField
from mlops.models import LanguageModel
from mlops.types import PICO_PER_USD, LanguageModelKind
from programs.models import Program, PromptSet

LIMITS = ("cost", "calls", "tokens", "seconds")


class PromptSetField(forms.ModelChoiceField):  # type: ignore[type-arg]  # generic in the stubs only
    """Prompt sets by the versions that they are made of."""

    def label_from_instance(self, obj: PromptSet) -> str:
        versions = sorted(obj.versions.all(), key=lambda version: version.module.position)
        return ", ".join(map(str, versions)) or str(obj)


class EvaluateDialog(BaseDialogForm):  # type: ignore[misc]  # unfold has no types
    """On what, by what, and what it may use."""

    dataset = forms.ModelChoiceField(
        label=_("Dataset"), queryset=Dataset.objects.none(), widget=UnfoldAdminSelectWidget
    )
    metrics = forms.ModelMultipleChoiceField(
        label=_("Metrics"), queryset=Metric.objects.none(), widget=UnfoldAdminSelectMultipleWidget
    )
    prompt_set = PromptSetField(
        label=_("Prompts"), queryset=PromptSet.objects.none(), required=False, widget=UnfoldAdminSelectWidget,
        help_text=_("Empty: those of a new execution."),
    )  # fmt: skip
    language_model = forms.ModelChoiceField(
        label=_("Language model"), queryset=LanguageModel.objects.none(), required=False,
        widget=UnfoldAdminSelectWidget, help_text=_("Empty: the program's own."),
    )  # fmt: skip
    concurrency = forms.IntegerField(
        label=_("Examples at once per worker"), initial=32, min_value=1, max_value=256,
        widget=UnfoldAdminIntegerFieldWidget,
    )  # fmt: skip
    cost = ScaledDecimalField(label=_("Budget ($)"), scale=PICO_PER_USD, required=False)
    calls = forms.IntegerField(
        label=_("Budget (model calls)"), required=False, min_value=0, widget=UnfoldAdminIntegerFieldWidget
    )
    tokens = forms.IntegerField(
        label=_("Budget (tokens)"), required=False, min_value=0, widget=UnfoldAdminIntegerFieldWidget
    )
    seconds = forms.IntegerField(
        label=_("Budget (seconds)"), required=False, min_value=0, widget=UnfoldAdminIntegerFieldWidget
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        user = self.request.user
        ready = Dataset.objects.visible_to(user).ready()
        self.fields["dataset"].queryset = ready.order_by("name", "type", "-version")
        self.fields["metrics"].queryset = Metric.objects.visible_to(user).order_by("name", "-version")
        prompts = PromptSet.objects.visible_to(user).filter(program=self.object_id)
        self.fields["prompt_set"].queryset = prompts.prefetch_related("versions__module")
        models = LanguageModel.objects.visible_to(user).enabled()
        self.fields["language_model"].queryset = models.filter(kind=LanguageModelKind.CHAT).order_by("name")


def _asked(request: HttpRequest, program: Program, data: dict[str, Any]) -> dict[str, Any]:
    """What the dialog says, as the service takes it."""
    return {
        "actor": actor_of(request),
        "program": program,
        "dataset": data["dataset"],
        "metrics": list(data["metrics"]),
        "prompt_set": data["prompt_set"],
        "language_model": data["language_model"],
        "concurrency": data["concurrency"],
        "budget": {name: data[name] for name in LIMITS if data[name] is not None},
    }


def _evaluate(request: HttpRequest, program: Program, data: dict[str, Any]) -> str:
    return page_of(evaluate_program(**_asked(request, program, data)))


def _estimate(request: HttpRequest, program: Program, data: dict[str, Any]) -> None:
    told = estimate_evaluation(**_asked(request, program, data)).as_json()
    cost = _now("unknown") if told["cost"] is None else _between(usd(bound) for bound in told["cost"])
    figures = {name: _between(f"{bound:,.0f}" for bound in told[name]) for name in ("calls", "tokens", "seconds")}
    words = _now("Estimate: %(calls)s model calls, %(tokens)s tokens, cost %(cost)s, %(seconds)s seconds.")
    messages.info(request, words % {**figures, "cost": cost})


def _between(bounds: Iterable[str]) -> str:
    return " - ".join(dict.fromkeys(bounds))


def page_of(evaluation: Evaluation) -> str:
    return reverse("admin:executions_evaluation_change", args=[evaluation.pk])


def add_evaluating_to_programs() -> None:
    for name, title, run, icon, done in (
        ("evaluate_program", _("Evaluate"), _evaluate, "analytics", _("The evaluation waits for a worker.")),
        ("estimate_evaluation", _("Estimate evaluation"), _estimate, "calculate", _("Nothing was started.")),
    ):
        links.add_button(
            "programs.program",
            name,
            button(
                name, title, run, action="evaluate", policy=evaluating_policy, form_class=EvaluateDialog, icon=icon,
                description=_("Every example of the dataset is answered and scored by the workers."), done=done,
            ),
            menu=links.IMPROVE,
        )  # fmt: skip
