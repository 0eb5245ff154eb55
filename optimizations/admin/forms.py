"""What people are asked before a compile."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext_lazy as _
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from datasets.models import Dataset
from datasets.types import DatasetType
from executions.models import Metric
from mlops.admin.forms import ScaledDecimalField
from mlops.models import LanguageModel
from mlops.types import PICO_PER_USD, LanguageModelKind
from optimizations.selectors import offered_optimizers
from optimizations.types import Budget, OptimizerName


def _choices() -> list[tuple[str, str]]:
    return [(name.value, name.value) for name in OptimizerName]


def _optimizers() -> Any:
    """Every optimizer in a sentence, with its parameters and their defaults."""
    told = format_html_join(
        "",
        "<p><strong>{}</strong>: {} <code>{}</code></p>",
        ((item["name"], item["description"], _defaults(item["parameters"])) for item in offered_optimizers()),
    )
    return format_html(
        "<details><summary>{}</summary>{}</details>", _("What the optimizers do, and their defaults"), told
    )


def _defaults(schema: dict[str, Any]) -> str:
    return json.dumps({name: item.get("default") for name, item in schema.get("properties", {}).items()})


class CompileDialog(BaseDialogForm):  # type: ignore[misc]  # unfold has no types
    """Datasets and metric, the optimizer, and what it all may use."""

    dataset = forms.ModelChoiceField(
        label=_("Training set"), queryset=Dataset.objects.none(), widget=UnfoldAdminSelectWidget
    )
    validation_set = forms.ModelChoiceField(
        label=_("Validation set"), queryset=Dataset.objects.none(), required=False, widget=UnfoldAdminSelectWidget,
        help_text=_("Before and after are compared on it. Without one a part of the training set is split off."),
    )  # fmt: skip
    metric = forms.ModelChoiceField(label=_("Metric"), queryset=Metric.objects.none(), widget=UnfoldAdminSelectWidget)
    optimizer = forms.ChoiceField(label=_("Optimizer"), choices=_choices, widget=UnfoldAdminSelectWidget)
    params = forms.JSONField(
        label=_("Parameters"), required=False, initial=dict, widget=UnfoldAdminTextareaWidget({"rows": 3})
    )
    cost = ScaledDecimalField(
        label=_("Budget ($)"), scale=PICO_PER_USD, required=False, help_text=_("For all of it, judging included.")
    )
    calls = forms.IntegerField(
        label=_("Budget (model calls)"), required=False, min_value=0, widget=UnfoldAdminIntegerFieldWidget
    )
    tokens = forms.IntegerField(
        label=_("Budget (tokens)"), required=False, min_value=0, widget=UnfoldAdminIntegerFieldWidget
    )
    seconds = forms.IntegerField(
        label=_("Budget (seconds)"), required=False, min_value=0, widget=UnfoldAdminIntegerFieldWidget
    )
    seed = forms.IntegerField(label=_("Seed"), initial=0, min_value=0, widget=UnfoldAdminIntegerFieldWidget)
    prompt_model = forms.ModelChoiceField(
        label=_("Prompt model"), queryset=LanguageModel.objects.none(), required=False, widget=UnfoldAdminSelectWidget,
        help_text=_("Proposes instructions; empty: the program's own."),
    )  # fmt: skip

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        user = self.request.user
        ready = Dataset.objects.visible_to(user).ready().order_by("name", "type", "-version")
        self.fields["dataset"].queryset = ready.filter(type=DatasetType.TRAINING.value)
        self.fields["validation_set"].queryset = ready.exclude(type=DatasetType.TEST.value)
        self.fields["metric"].queryset = Metric.objects.visible_to(user).order_by("name", "-version")
        self.fields["prompt_model"].queryset = (
            LanguageModel.objects.visible_to(user).enabled().filter(kind=LanguageModelKind.CHAT.value)
        )
        self.fields["params"].help_text = _optimizers()

    @staticmethod
    def arguments_of(given: Mapping[str, Any]) -> dict[str, Any]:
        """The dialog's data as `compile_program` takes them."""
        limits = {name: given[name] for name in ("cost", "calls", "tokens", "seconds") if given[name] is not None}
        return {
            "dataset": given["dataset"],
            "validation_set": given["validation_set"],
            "metric": given["metric"],
            "optimizer": given["optimizer"],
            "params": given["params"] or {},
            "budget": Budget.from_json(limits),
            "seed": given["seed"],
            "prompt_model": given["prompt_model"],
        }
