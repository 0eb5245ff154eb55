"""What a dataset is like and what it shares with others, on its admin page; and the button that splits it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminIntegerFieldWidget, UnfoldAdminTextInputWidget

from datasets.models import Dataset
from datasets.models.datasets import READY
from datasets.policies import dataset_policy
from datasets.services.splitting import split_dataset
from datasets.services.statistics import compute_statistics, is_computed, overlap
from datasets.types import DatasetType
from mlops.admin import links
from mlops.admin.base import actor_of
from mlops.admin.buttons import button

AT_ONCE = 10_000
"""Examples up to which statistics and overlaps are worked out unasked; for more the page offers it."""

ASKED = "statistics"
SHOWN_LABELS = 12


def statistics_panel(request: HttpRequest, dataset: Dataset) -> SafeString | None:
    actor = actor_of(request)
    if dataset.state != READY or not dataset_policy.can(actor, "view", dataset):
        return None
    if dataset.size > AT_ONCE and not is_computed(dataset) and ASKED not in request.GET:
        return SafeString(render_to_string("datasets/admin/statistics.html", {"address": f"?{ASKED}"}))
    found = compute_statistics(actor=actor, dataset=dataset)
    looks_at_others = dataset.size <= AT_ONCE or ASKED in request.GET  # it is nowhere kept, since others change
    overlaps = overlap(actor=actor, dataset=dataset) if looks_at_others else []
    context = {
        "overlaps_address": "" if looks_at_others else f"?{ASKED}",
        "size": found["size"],
        "duplicates": found["duplicates"],
        "fields": [_field(name, figures, found["size"]) for name, figures in found["fields"].items()],
        "further": found.get("further_fields", []),
        "overlaps": [
            {"row": row, "percent": _percent(row.share), "address": _page(row.dataset_id)} for row in overlaps
        ],
    }
    return SafeString(render_to_string("datasets/admin/statistics.html", context))


class SplitDialog(BaseDialogForm):  # type: ignore[misc]  # unfold has no types
    training = forms.FloatField(label=_("Training"), initial=0.8, required=False, widget=UnfoldAdminDecimalFieldWidget)
    validation = forms.FloatField(
        label=_("Validation"), initial=0.1, required=False, widget=UnfoldAdminDecimalFieldWidget
    )
    test = forms.FloatField(
        label=_("Test"),
        initial=0.1,
        required=False,
        help_text=_("Fractions of the examples; together 1. Leave out a part with 0."),
        widget=UnfoldAdminDecimalFieldWidget,
    )
    stratify_by = forms.CharField(
        label=_("Stratify by"),
        required=False,
        help_text=_("A field, such as the label, that is to be distributed alike in all parts."),
        widget=UnfoldAdminTextInputWidget,
    )
    seed = forms.IntegerField(label=_("Seed"), initial=0, widget=UnfoldAdminIntegerFieldWidget)
    name = forms.CharField(
        label=_("Name"), required=False, help_text=_("Empty: that of the dataset."), widget=UnfoldAdminTextInputWidget
    )


def _split(request: HttpRequest, row: Dataset, data: dict[str, Any]) -> str:
    fractions = {type_.value: data[type_.value] for type_ in DatasetType if data[type_.value]}
    split_dataset(
        actor=actor_of(request),
        dataset=row,
        fractions=fractions,
        seed=data["seed"],
        stratify_by=data["stratify_by"],
        name=data["name"],
    )
    return f"{reverse('admin:datasets_dataset_changelist')}?q={data['name'] or row.name}"


def _field(name: str, figures: dict[str, Any], size: int) -> dict[str, Any]:
    labels = figures.get("labels", [])
    majority = labels[0]["share"] if labels else 0.0
    return {
        "name": name,
        "types": ", ".join(kind for kind in figures["types"] if kind != "null"),
        "missing": figures["missing"],
        "missing_percent": _percent(figures["missing"] / size),
        "distinct": figures["distinct"],
        "distributions": [
            {"title": title, "figures": figures[key], "bars": _bars(figures[key]["histogram"])}
            for key, title in (("lengths", _("characters")), ("numbers", _("values")))
            if key in figures
        ],
        "labels": [
            {**label, "percent": _percent(label["share"]), "width": 100 * label["share"] / majority}
            for label in labels[:SHOWN_LABELS]
        ],
        "further_labels": figures.get("further_labels", 0) + max(len(labels) - SHOWN_LABELS, 0),
        "majority": _percent(majority) if labels else "",
    }


def _bars(histogram: dict[str, list[Any]] | None) -> list[dict[str, Any]]:
    """Each bin with its height in percent of the highest and what it says when pointed at."""
    if histogram is None:
        return []
    counts, edges = histogram["counts"], histogram["edges"]
    return [
        {"height": 100 * count / max(counts), "title": f"{edges[number]:.4g} - {edges[number + 1]:.4g}: {count}"}
        for number, count in enumerate(counts)
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _page(dataset_id: Any) -> str:
    return reverse("admin:datasets_dataset_change", args=[dataset_id])


links.add_panel("datasets.dataset", links.Panel("statistics", _("Statistics"), statistics_panel))
links.add_button(
    "datasets.dataset",
    "split",
    button(
        "split",
        _("Split"),
        _split,
        action="create",
        policy=dataset_policy,
        description=_("Parts become next versions. The same content and seed give the same parts."),
        form_class=SplitDialog,
        available=lambda row: row.state == READY and row.size > 1,
        icon="call_split",
    ),
)
