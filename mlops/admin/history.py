"""The pages of a record's history: what it was, what differs, and the button that puts it back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.dateparse import parse_datetime
from django.utils.timezone import is_naive, make_aware
from django.utils.translation import gettext as _

from mlops.errors import DomainError
from mlops.models import User
from mlops.moments import moment_of
from mlops.policies import history_policy
from mlops.selectors import history as past
from mlops.services.reverting import revert, way_back

PAGE = 50
LONGEST = 2_000
"""Characters of a value that a page shows."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A column before and after, as text."""

    field: str
    old: str
    new: str
    is_long: bool


def history_page(model_admin: Any, request: HttpRequest, actor: User, row: Any) -> HttpResponse:
    """All states of `row`; with `?as_of=` the way to the one of that time, with `?older=&newer=` what differs."""
    _require(actor, "view", row)
    if "as_of" in request.GET:
        return _as_of(model_admin, request, row)
    states = Paginator(past.history_of(row), PAGE).get_page(request.GET.get("page"))
    listed = [(state, _shown(model_admin, changes)) for state, changes in past.with_changes(list(states))]
    context = {"states": listed, "page": states, "compared": _compared(model_admin, request, row)}
    return _page_of(model_admin, request, row, "mlops/admin/history.html", context)


def deleted_page(model_admin: Any, request: HttpRequest, actor: User) -> HttpResponse:
    """All records that have been deleted, the latest first."""
    _require(actor, "view", None)
    states = Paginator(past.deletions(model_admin.model, actor), PAGE).get_page(request.GET.get("page"))
    rows = [(state, state.instance) for state in states]
    listed = [(state, _name(row), _address(model_admin, "history", row.pk)) for state, row in rows]
    title = _("Deleted: %(records)s") % {"records": model_admin.model._meta.verbose_name_plural}
    return _page(model_admin, request, title, "mlops/admin/history_deleted.html", {"states": listed, "page": states})


def state_page(model_admin: Any, request: HttpRequest, actor: User, row: Any, number: str) -> HttpResponse:
    """One state, beside what `row` is now. POST puts it back."""
    _require(actor, "view", row)
    try:
        state = past.state_of(row, _number(number))
        if request.method == "POST":
            revert(actor=actor, row=row, state=state.history_id)
            messages.success(request, _("Put back as it was."))
            return HttpResponseRedirect(_address(model_admin, "change", row.pk))
    except DomainError as error:
        messages.error(request, error.message)
        return HttpResponseRedirect(_address(model_admin, "history", row.pk))
    way = way_back(type(row))
    differing = past.difference(state, past.history_of(row).first())
    context = {
        "state": state,
        "values": [(_label(model_admin, name), _text(value)) for name, value in past.values_of(state).items()],
        "differing": _shown(model_admin, differing),
        "comes_back": [_label(model_admin, change.field) for change in differing if way and change.field in way.fields],
        "may_revert": way is not None and not row._state.adding and history_policy.can(actor, "revert", row),
    }
    return _page_of(model_admin, request, row, "mlops/admin/history_state.html", context)


def _require(actor: User, action: str, row: Any) -> None:
    if not history_policy.can(actor, action, row):
        raise PermissionDenied


def _as_of(model_admin: Any, request: HttpRequest, row: Any) -> HttpResponse:
    try:
        state = past.state_at(row, _time(request.GET["as_of"]))
    except DomainError as error:
        messages.error(request, error.message)
        return HttpResponseRedirect(_address(model_admin, "history", row.pk))
    except ValueError:
        messages.error(request, _("Not a date and time."))
        return HttpResponseRedirect(_address(model_admin, "history", row.pk))
    return HttpResponseRedirect(_address(model_admin, "simple_history", row.pk, state.history_id))


def _compared(model_admin: Any, request: HttpRequest, row: Any) -> dict[str, Any] | None:
    """The two states that were picked, in the order of time, and what differs."""
    picked = sorted(_number(request.GET[name]) for name in ("older", "newer") if name in request.GET)
    if len(picked) < 2:
        return None
    try:
        older, newer = (past.state_of(row, number) for number in picked)
    except DomainError as error:
        messages.error(request, error.message)
        return None
    return {"older": older, "newer": newer, "changes": _shown(model_admin, past.difference(older, newer))}


def _page_of(model_admin: Any, request: HttpRequest, row: Any, template: str, context: dict[str, Any]) -> HttpResponse:
    is_deleted = row._state.adding
    context |= {
        "original": None if is_deleted else row,  # whose name templates ask for
        "is_deleted": is_deleted,
        "row_address": _address(model_admin, "deleted") if is_deleted else _address(model_admin, "change", row.pk),
        "history_address": _address(model_admin, "history", row.pk),
    }
    return _page(model_admin, request, _("History: %(row)s") % {"row": _name(row)}, template, context)


def _page(model_admin: Any, request: HttpRequest, title: str, template: str, context: dict[str, Any]) -> HttpResponse:
    of_site = model_admin.admin_site.each_context(request)
    return render(request, template, {**of_site, "title": title, "opts": model_admin.model._meta, **context})


def _name(row: Any) -> str:
    """What the row is called; its id where that says something of a row that has gone too."""
    try:
        return str(row)
    except ObjectDoesNotExist:
        return str(row.pk)


def _address(model_admin: Any, page: str, *names: Any) -> str:
    meta = model_admin.model._meta
    return reverse(f"{model_admin.admin_site.name}:{meta.app_label}_{meta.model_name}_{page}", args=names)


def _shown(model_admin: Any, changes: list[past.FieldChange]) -> list[Shown]:
    return [_both(_label(model_admin, change.field), _text(change.old), _text(change.new)) for change in changes]


def _both(field: str, old: str, new: str) -> Shown:
    return Shown(field, old, new, is_long=max(len(old), len(new)) > 80)


def _label(model_admin: Any, name: str) -> str:
    return str(model_admin.model.history.model._meta.get_field(name).verbose_name)


def _text(value: Any) -> str:
    if value in (None, ""):
        return "–"  # noqa: RUF001  # a dash, as lists of the admin show what is empty
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


def _number(told: str) -> int:
    return int(told) if told.isascii() and told.isdigit() and len(told) <= 18 else 0


def _time(told: str) -> datetime:
    """Raises ValueError. A time without a zone is of the site's."""
    time = parse_datetime(told)
    return moment_of(make_aware(time).isoformat() if time and is_naive(time) else told)
