"""The page of a signature: its fields inline, or written as shorthand."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from unfold.admin import StackedInline
from unfold.decorators import display

from mlops.admin.base import RecordAdmin, ScopedAdmin, actor_of
from mlops.admin.buttons import button
from programs import services
from programs.admin.forms import LowTextareas, SignatureForm
from programs.models import Signature, SignatureField
from programs.policies import signature_policy
from programs.types import FieldSpec, FieldType


def _new_version(request: HttpRequest, row: Signature, data: dict[str, Any]) -> str:
    created = services.new_signature_version(actor=actor_of(request), signature=row)
    return reverse("admin:programs_signature_change", args=[created.pk])


class FieldInline(LowTextareas, ScopedAdmin, StackedInline):  # type: ignore[misc]  # unfold has no types
    """Changed on the signature's page until it is frozen. The rights are those on the signature."""

    model = SignatureField
    policy = signature_policy
    add_action = change_action = delete_action = "change"
    extra = 0
    fields = (
        ("name", "is_input", "position"),
        ("type", "is_list", "required"),
        "description",
        ("choices", "constraints", "schema"),
        ("has_default", "default"),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Fields have no scope of their own: whoever sees the signature sees them."""
        rows: QuerySet[Any] = StackedInline.get_queryset(self, request)
        return rows

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may(request, self.add_action, obj)

    def _may(self, request: HttpRequest, action: str | None, row: Any) -> bool:
        return (row is None or row.frozen_at is None) and super()._may(request, action, row)


@admin.register(Signature)
class SignatureAdmin(RecordAdmin):
    policy = signature_policy
    add_action, change_action, delete_action = "create", "change", "delete"
    form = SignatureForm
    list_display = ("name", "version", "is_frozen", "created_at")
    list_filter = (("frozen_at", admin.EmptyFieldListFilter),)
    search_fields = ("name",)
    fields = ("name", "version", "instructions", "shorthand", "frozen_at")
    readonly_fields = ("version", "frozen_at")
    inlines = (FieldInline,)
    buttons = ("new_version",)

    new_version = button(
        "new_version",
        _("New version"),
        _new_version,
        description=_("A copy that can be changed. Programs keep the version that they name."),
        icon="content_copy",
    )

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        if obj is None:
            return ("name", "instructions", "shorthand")
        return self.fields if obj.frozen_at is None else ("name", "version", "instructions", "frozen_at")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return (*self.readonly_fields, "name") if obj else self.readonly_fields

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return (obj is None or obj.frozen_at is None) and super().has_change_permission(request, obj)

    def perform_delete(self, request: HttpRequest, row: Signature) -> None:
        services.delete_signature(actor=actor_of(request), signature=row)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Nothing yet: a signature is written with its fields, which `save_related` has."""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        given = self._given(form, formsets)
        for formset in formsets:
            formset.new_objects, formset.changed_objects, formset.deleted_objects = [], [], []
        if change:
            row = Signature.objects.get(pk=form.instance.pk)
            saved = services.update_signature(actor=actor_of(request), signature=row, **given) if given else row
        else:
            saved = services.create_signature(actor=actor_of(request), name=form.cleaned_data["name"], **given)
        form.instance.__dict__.update(saved.__dict__)

    def _given(self, form: Any, formsets: Any) -> dict[str, Any]:
        """What the page asks for: the shorthand, or all the fields once any of them has changed."""
        given = {name: form.cleaned_data[name] for name in form.changed_data if name in ("instructions", "shorthand")}
        if "shorthand" not in given and any(formset.has_changed() for formset in formsets):
            given["fields"] = _specs(formsets[0])
        return given

    @display(description=_("frozen"), boolean=True)  # type: ignore[untyped-decorator]  # unfold has no types
    def is_frozen(self, row: Signature) -> bool:
        return row.frozen_at is not None


def _specs(formset: Any) -> list[FieldSpec]:
    rows = [form.cleaned_data for form in formset.forms if form.cleaned_data and form not in formset.deleted_forms]
    rows.sort(key=lambda row: (not row["is_input"], row["position"]))
    return [_spec(row) for row in rows]


def _spec(row: dict[str, Any]) -> FieldSpec:
    return FieldSpec(
        name=row["name"],
        type=FieldType(row["type"]),
        is_list=row["is_list"],
        is_input=row["is_input"],
        description=row["description"],
        required=row["required"],
        has_default=row["has_default"],
        default=row["default"] if row["has_default"] else None,
        choices=tuple(row["choices"] or ()),
        schema=row["schema"],
        constraints=row["constraints"] or {},
    )
