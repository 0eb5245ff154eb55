"""Buttons and bulk actions of the admin: each is one service call, on POST with the CSRF token only.

A button opens a dialog (GET); confirming it (POST) runs the service. What the service refuses is shown, nothing else
happens.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeAlias

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from unfold.decorators import action as unfold_action
from unfold.enums import ActionVariant
from unfold.forms import BaseDialogForm

from mlops.errors import DomainError
from mlops.policies import Policy

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise  # the type of gettext_lazy, known to the stubs alone

Text: TypeAlias = "str | _StrPromise"
Run: TypeAlias = Callable[[HttpRequest, Any, dict[str, Any]], HttpResponse | str | None]
Available: TypeAlias = Callable[[Any], bool]


def button(
    name: str,
    title: Text,
    run: Run,
    *,
    action: str | None = None,
    policy: Policy | None = None,
    description: Text = "",
    done: Text = "",
    form_class: type[BaseDialogForm] | None = None,
    available: Available | None = None,
    icon: str | None = None,
    variant: ActionVariant = ActionVariant.DEFAULT,
) -> Any:
    """A button of a row's page, shown to those whom the policy's `action` (default: `name`) allows; a button that a
    higher app adds brings its own `policy`.

    `run(request, row, data)` calls the service; it returns None to come back to the row, an address to go to, or a
    whole response. `form_class` asks for arguments (its cleaned data is `data`), `available(row)` hides the button
    where the row's state has no use for it.
    """

    dialog = {"title": title, "description": description, "form_submit_text": title, "form_class": form_class}

    def handle(model_admin: Any, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        row = model_admin.get_object(request, unquote(object_id))
        if row is None:
            raise Http404
        try:
            outcome = run(request, row, form.cleaned_data)
        except DomainError as error:
            return _refused(error, dialog, form=form, request=request, back=address_of(model_admin, row))
        if isinstance(outcome, HttpResponse):
            return outcome
        messages.success(request, str(done) or _("%(title)s: done.") % {"title": title})
        return _go(request, outcome or address_of(model_admin, row))

    handle.__name__ = name
    decorated: Any = unfold_action(handle, description=title, url_path=name, icon=icon, variant=variant, dialog=dialog)

    @wraps(decorated)
    def asked_of_a_row(model_admin: Any, request: HttpRequest, object_id: str) -> HttpResponse:
        """The dialog is drawn before `handle` is reached; what it offers may follow from the row."""
        if model_admin.get_object(request, unquote(object_id)) is None:
            raise Http404
        response: HttpResponse = decorated(model_admin, request, object_id=object_id)
        return response

    placed: Any = asked_of_a_row
    placed.policy_action = action or name
    placed.policy = policy
    placed.available = available
    return placed


def bulk_action(name: str, title: Text, run: Callable[[HttpRequest, Any], object], *, action: str | None = None) -> Any:
    """An action on the selected rows of a list: `run(request, row)` for each, in its own transaction.

    Rows that the service refuses are named with the reason; the others are done.
    """

    @admin.action(description=title)
    def handle(model_admin: Any, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        done = 0
        for row in queryset:
            try:
                with transaction.atomic():
                    run(request, row)
                done += 1
            except DomainError as error:
                messages.error(request, f"{row}: {error.message}")
        if done:
            messages.success(request, ngettext("%(n)d row done.", "%(n)d rows done.", done) % {"n": done})

    handle.__name__ = name
    handle.policy_action = action or name  # type: ignore[attr-defined]  # read by ServiceAdmin.get_actions
    return handle


def address_of(model_admin: Any, row: Any) -> str:
    """The page of `row`, or the list when the row has none any more."""
    meta = model_admin.model._meta
    base = f"{model_admin.admin_site.name}:{meta.app_label}_{meta.model_name}"
    exists = row.pk is not None and type(row)._base_manager.filter(pk=row.pk).exists()
    try:
        return reverse(f"{base}_change", args=[row.pk]) if exists else reverse(f"{base}_changelist")
    except NoReverseMatch:
        return reverse(f"{model_admin.admin_site.name}:index")


def _refused(error: DomainError, dialog: Any, *, form: Any, request: HttpRequest, back: str) -> HttpResponse:
    """Beside the field of the dialog where there is one, else as a message on the row's page."""
    at_fields = [problem for problem in error.problems if problem.field in form.fields]
    if not at_fields:
        messages.error(request, error.message)
        return _go(request, back)
    for problem in at_fields:
        form.add_error(problem.field, problem.message)
    return render(request, "unfold/helpers/dialog.html", {"dialog": dialog, "form": form})


def _go(request: HttpRequest, address: str) -> HttpResponse:
    if request.headers.get("HX-Request"):
        return HttpResponse(status=204, headers={"HX-Redirect": address})
    return HttpResponseRedirect(address)
