"""`ServiceAdmin`: the admin as one more edge. It shows what `visible_to` shows, asks policies, and calls services."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any, ClassVar, cast

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path
from django.utils.functional import cached_property
from simple_history.admin import SimpleHistoryAdmin
from unfold.admin import ModelAdmin, TabularInline

from mlops.admin import links
from mlops.admin.buttons import address_of
from mlops.admin.history import deleted_page, history_page, state_page
from mlops.errors import DomainError
from mlops.filters import refuse_long_search
from mlops.models import User
from mlops.policies import Policy
from mlops.selectors.history import deleted_record

COUNTED_ROWS = 10_000
"""Lists say how many rows there are up to here; beyond, search and filters lead to a row, not page numbers."""

SECRET_COLUMNS = frozenset({"password", "digest", "secret"})


def actor_of(request: HttpRequest) -> User:
    """Who asks: the admin site lets nobody in without an account."""
    return cast("User", request.user)


class BoundedPaginator(Paginator):  # type: ignore[type-arg]  # not subscriptable at run time
    """Counts at most `COUNTED_ROWS` rows, so that the largest table's list opens as fast as the smallest's."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[:COUNTED_ROWS].count())


class ScopedAdmin:
    """Rights of a page or an inline: rows by `visible_to`, actions by `policy`; None switches an action off."""

    policy: ClassVar[Policy]
    add_action: ClassVar[str | None] = None
    change_action: ClassVar[str | None] = None
    delete_action: ClassVar[str | None] = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: Any = super().get_queryset(request)  # type: ignore[misc]  # mixed into ModelAdmin and inlines
        scoped: QuerySet[Any] = rows.visible_to(request.user)
        return scoped

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return "view" not in self.policy.rules or self.policy.can(request.user, "view", obj)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may(request, self.add_action, None)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may(request, self.change_action, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may(request, self.delete_action, obj)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def _may(self, request: HttpRequest, action: str | None, row: Any) -> bool:
        return action is not None and self.policy.can(request.user, action, row)


class ReadOnlyInline(ScopedAdmin, TabularInline):  # type: ignore[misc]  # unfold has no types
    """Rows of a child shown on their parent's page; they are changed by buttons and on their own pages."""

    extra = 0
    max_num = 0
    can_delete = False
    show_change_link = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ServiceAdmin(ScopedAdmin, ModelAdmin):  # type: ignore[misc]  # unfold has no types
    """A page whose writes are service calls.

    Subclasses name the policy and its actions, fill `perform_create`, `perform_update` and `perform_delete`, and list
    the names of their buttons (`mlops.admin.buttons.button`) in `buttons`.
    """

    buttons: ClassVar[tuple[str, ...]] = ()
    paginator = BoundedPaginator
    show_full_result_count = False
    list_per_page = 50
    list_filter_submit = True
    compressed_fields = True
    warn_unsaved_form = True
    change_form_outer_after_template = "mlops/admin/panels.html"

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Nobody finds out letter by letter what no page shows."""
        allowed: bool = super().lookup_allowed(lookup, value, request)
        return allowed and SECRET_COLUMNS.isdisjoint(lookup.split("__"))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        try:
            refuse_long_search(search_term)
        except DomainError as error:
            messages.error(request, error.message)
            return queryset.none(), False
        found: tuple[QuerySet[Any], bool] = super().get_search_results(request, queryset, search_term)
        return found

    def perform_create(self, request: HttpRequest, fields: dict[str, Any]) -> Any:
        """Hook: one service call with the form's cleaned data; returns the new row."""
        raise NotImplementedError  # each subclass says which service it calls

    def perform_update(self, request: HttpRequest, row: Any, fields: dict[str, Any]) -> Any:
        """Hook: one service call with what the form changed; returns the changed row."""
        raise NotImplementedError  # each subclass says which service it calls

    def perform_delete(self, request: HttpRequest, row: Any) -> None:
        """Hook: one service call."""
        raise NotImplementedError  # each subclass says which service it calls

    def get_inlines(self, request: HttpRequest, obj: Any) -> list[Any]:
        """A row that is not there yet has nothing to show of its children."""
        shown: list[Any] = list(super().get_inlines(request, obj))
        return shown if obj else [inline for inline in shown if not issubclass(inline, ReadOnlyInline)]

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change:
            changed = {name: form.cleaned_data[name] for name in form.changed_data}
            saved = self.perform_update(request, type(obj)._base_manager.get(pk=obj.pk), changed)
        else:
            saved = self.perform_create(request, dict(form.cleaned_data))
        # The log entry and the way back need the row as it was saved, its key above all.
        obj.__dict__.update(saved.__dict__)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Nothing: the service has written everything that belongs to the row. Django's log entry asks what was done to
        the rows of inlines."""
        for formset in formsets:
            formset.new_objects, formset.changed_objects, formset.deleted_objects = [], [], []

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        self.perform_delete(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        with transaction.atomic():
            for row in queryset:
                self.perform_delete(request, row)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """What would go: the rows themselves. Whether they may is for the service to say."""
        name = str(self.model._meta.verbose_name_plural)
        return [str(row) for row in objs], {name: len(objs)}, set(), []

    # What a service refuses comes out of Django's own transaction around the view, which is thereby rolled back.

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        context = {**(extra_context or {}), "panels": self._panels(request, object_id)}
        try:
            response: HttpResponse = super().changeform_view(request, object_id, form_url, context)
            return response
        except DomainError as error:
            # Once more with what was typed, now with the refusal as the form's own complaint.
            request.refusal = error  # type: ignore[attr-defined]
            messages.error(request, error.message)
            kept: HttpResponse = super().changeform_view(request, object_id, form_url, context)
            return kept

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **options: Any) -> Any:
        form = super().get_form(request, obj, change, **options)
        refusal: DomainError | None = getattr(request, "refusal", None)
        return form if refusal is None else _complaining(form, refusal)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        try:
            response: HttpResponse = super().delete_view(request, object_id, extra_context)
            return response
        except DomainError as error:
            messages.error(request, error.message)
            return HttpResponseRedirect(address_of(self, self.get_object(request, object_id)))

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        try:
            response: HttpResponse = super().changelist_view(request, extra_context)
            return response
        except DomainError as error:
            messages.error(request, error.message)
            return HttpResponseRedirect(request.get_full_path())

    # Buttons: this page's own, and what higher apps have added.

    @property
    def actions_detail(self) -> tuple[Any, ...]:
        label = self.model._meta.label_lower
        menus: list[dict[str, Any]] = [
            {"title": menu.title, "items": names} for menu, names in links.menus_of(label).items()
        ]
        in_menus = {name for menu in menus for name in menu["items"]}
        return (*self.buttons, *(name for name in links.buttons_of(label) if name not in in_menus), *menus)

    def _get_instance_method(self, method_name: str) -> Callable[..., Any]:
        linked = links.buttons_of(self.model._meta.label_lower).get(method_name)
        if linked is not None:
            return MethodType(linked, self)
        own: Callable[..., Any] = super()._get_instance_method(method_name)
        return own

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        row = self.get_object(request, str(object_id))
        offered: list[Any] = super().get_actions_detail(request, object_id)
        return [action for action in offered if row is not None and self._offers(request, action.method, row)]

    def _offers(self, request: HttpRequest, method: Any, row: Any) -> bool:
        policy: Policy = getattr(method, "policy", None) or self.policy
        available = getattr(method, "available", None)
        return (available is None or available(row)) and policy.can(request.user, method.policy_action, row)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        offered: dict[str, Any] = super().get_actions(request)
        return {
            name: entry
            for name, entry in offered.items()
            if not hasattr(entry[0], "policy_action") or self.policy.can(request.user, entry[0].policy_action, None)
        }

    def _panels(self, request: HttpRequest, object_id: str | None) -> list[dict[str, Any]]:
        declared = links.panels_of(self.model._meta.label_lower) if object_id else []
        row = self.get_object(request, str(object_id)) if declared else None
        if row is None:
            return []
        rendered = [(panel, panel.render(request, row)) for panel in declared]
        return [{"name": panel.name, "title": panel.title, "html": html} for panel, html in rendered if html]


class RecordAdmin(SimpleHistoryAdmin, ServiceAdmin):  # type: ignore[misc]  # neither has types
    """A `ServiceAdmin` of a record with history, which has pages of its own here."""

    list_before_template = "mlops/admin/deleted_link.html"

    def get_urls(self) -> list[Any]:
        meta = self.model._meta
        page = self.admin_site.admin_view(self.deleted_view)
        return [path("deleted/", page, name=f"{meta.app_label}_{meta.model_name}_deleted"), *super().get_urls()]

    def deleted_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return deleted_page(self, request, actor_of(request))

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        ServiceAdmin.save_model(self, request, obj, form, change)

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        return history_page(self, request, actor_of(request), self._visible(request, object_id))

    def history_form_view(
        self, request: HttpRequest, object_id: str, version_id: str, extra_context: Any = None
    ) -> HttpResponse:
        return state_page(self, request, actor_of(request), self._visible(request, object_id), version_id)

    def _visible(self, request: HttpRequest, object_id: str) -> Any:
        """Also one that has been deleted."""
        key = unquote(object_id)
        row = self.get_object(request, key) or deleted_record(self.model, key, actor_of(request))
        if row is None:
            raise Http404
        return row


def _complaining(form: Any, refusal: DomainError) -> Any:
    """A form class that finds `refusal` when it is validated: at its fields, or above the form."""

    def clean(self: Any) -> Any:
        cleaned = form.clean(self)
        for problem in refusal.problems:
            self.add_error(problem.field if problem.field in self.fields else None, problem.message)
        return cleaned

    return type(form.__name__, (form,), {"clean": clean})
