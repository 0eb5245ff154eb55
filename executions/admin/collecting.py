"""The bulk action that makes a dataset of selected executions."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from datasets.models import TYPE_CHOICES
from executions.services.collecting import MAX_EXAMPLES, collect_examples
from mlops.admin.base import actor_of
from mlops.admin.forms import RefusableForm
from mlops.errors import DomainError

CONFIRMED = "collect"


class CollectForm(RefusableForm):
    name = forms.CharField(
        label=_("Name"), help_text=_("Of the dataset; its next version is made."), widget=UnfoldAdminTextInputWidget
    )
    type = forms.ChoiceField(label=_("Type"), choices=TYPE_CHOICES, widget=UnfoldAdminSelectWidget)
    description = forms.CharField(label=_("Description"), required=False, widget=UnfoldAdminTextInputWidget)


@admin.action(description=_("Collect as a dataset"))
def collect_selected(model_admin: Any, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
    """Ask for a name and a type, then go to the new dataset."""
    form = CollectForm(request.POST) if CONFIRMED in request.POST else CollectForm()
    if form.is_valid():
        chosen = queryset.order_by("-id").values_list("pk", flat=True)[:MAX_EXAMPLES]
        try:
            dataset = collect_examples(
                actor=actor_of(request), executions=chosen, limit=MAX_EXAMPLES, **form.cleaned_data
            )
            return HttpResponseRedirect(reverse("admin:datasets_dataset_change", args=[dataset.pk]))
        except DomainError as error:
            form.refuse(error)
    context = {
        **model_admin.admin_site.each_context(request),
        "title": _("Collect %(n)d executions as a dataset") % {"n": queryset.count()},
        "form": form,
        "opts": model_admin.model._meta,
        "selected": request.POST.getlist("_selected_action"),
        "select_across": request.POST.get("select_across", "0"),
    }
    return render(request, "executions/admin/collect.html", context, status=400 if form.errors else 200)


collect_selected.policy_action = "collect"  # type: ignore[attr-defined]  # read by ServiceAdmin.get_actions
