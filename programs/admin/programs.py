"""The page of a program: its modules and connections inline, its life cycle as buttons."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext_lazy
from unfold.admin import TabularInline
from unfold.decorators import display
from unfold.enums import ActionVariant

from mlops.admin.base import RecordAdmin, ScopedAdmin, actor_of
from mlops.admin.buttons import bulk_action, button
from programs import services
from programs.admin.forms import LowTextareas, ProgramForm, ReasonDialog, RollBackDialog
from programs.admin.scores import scores_table
from programs.admin.timeline import timeline_page
from programs.models import Module, ModuleConnection, Program
from programs.policies import program_policy
from programs.services import ModuleInput
from programs.types import ConnectionSpec, ProgramStatus

STATUS_COLOURS = {
    ProgramStatus.DRAFT.value: "info",
    ProgramStatus.TESTING.value: "warning",
    ProgramStatus.PRODUCTION.value: "success",
    ProgramStatus.ARCHIVED.value: "danger",
}


def _address_of(program: Program) -> str:
    return reverse("admin:programs_program_change", args=[program.pk])


def _submit(request: HttpRequest, row: Program, data: dict[str, Any]) -> None:
    services.submit_program(actor=actor_of(request), program=row)


def _deploy(request: HttpRequest, row: Program, data: dict[str, Any]) -> None:
    services.deploy_program(actor=actor_of(request), program=row, reason=data["reason"])


def _archive(request: HttpRequest, row: Program, data: dict[str, Any]) -> None:
    services.archive_program(actor=actor_of(request), program=row)


def _archive_selected(request: HttpRequest, row: Program) -> None:
    _archive(request, row, {})


def _new_version(request: HttpRequest, row: Program, data: dict[str, Any]) -> str:
    return _address_of(services.new_version(actor=actor_of(request), program=row))


def _roll_back(request: HttpRequest, row: Program, data: dict[str, Any]) -> str:
    actor = actor_of(request)
    return _address_of(services.roll_back_program(actor=actor, program=row, to=data["to"], reason=data["reason"]))


def _validate(request: HttpRequest, row: Program, data: dict[str, Any]) -> None:
    for problem in services.validate_program(actor=actor_of(request), program=row):
        messages.error(request, f"{problem.field}: {problem.message}")


def _is_draft(row: Program | None) -> bool:
    return row is None or row.status == ProgramStatus.DRAFT


class DraftInline(LowTextareas, ScopedAdmin, TabularInline):  # type: ignore[misc]  # unfold has no types
    """Parts of a program, changed on its page while it is a draft. The rights are those on the program."""

    policy = program_policy
    add_action = change_action = delete_action = "change"
    extra = 0

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may(request, self.add_action, obj)

    def _may(self, request: HttpRequest, action: str | None, row: Any) -> bool:
        return _is_draft(row) and super()._may(request, action, row)


class ModuleInline(DraftInline):
    model = Module
    fields = ("key", "kind", "signature", "config", "position", "language_model")
    autocomplete_fields = ("signature", "language_model")
    ordering = ("position",)


class ConnectionInline(DraftInline):
    """An empty module is the program's own boundary."""

    model = ModuleConnection
    fields = ("from_module", "from_field", "to_module", "to_field")

    def get_formset(self, request: HttpRequest, obj: Any = None, **options: Any) -> Any:
        formset = super().get_formset(request, obj, **options)
        modules = list(Module.objects.filter(program=obj)) if obj else []
        for name in ("from_module", "to_module"):
            if field := formset.form.base_fields.get(name):
                field.queryset = Module.objects.filter(program=obj)
                # Set once: each row of the inline would ask the database for them again.
                field.choices = [("", "---------"), *((module.pk, module.key) for module in modules)]
                field.widget.can_add_related = field.widget.can_change_related = False
        return formset


@admin.register(Program)
class ProgramAdmin(RecordAdmin):
    policy = program_policy
    add_action, change_action, delete_action = "create", "change", "delete"
    form = ProgramForm
    list_display = ("name", "version", "coloured_status", "description_start", "group", "created_at")
    list_filter = ("status", "group")
    list_select_related = ("group",)
    search_fields = ("name", "description")
    fieldsets = (
        (None, {"fields": ("name", "version", "status", "traffic_percentage", "description")}),
        (gettext_lazy("Settings"), {"fields": ("config", "credits_per_execution", "group")}),
        (gettext_lazy("Latest evaluations"), {"fields": ("scores",)}),
    )
    add_fieldsets = (
        (None, {"fields": ("name", "description")}),
        (gettext_lazy("Settings"), {"fields": ("config", "credits_per_execution", "group")}),
    )
    readonly_fields = ("version", "status", "traffic_percentage", "scores")
    buttons = ("validate", "submit", "deploy", "archive", "roll_back", "new_version")
    actions = (
        bulk_action(
            "archive", gettext_lazy("Archive selected programs"), lambda request, row: _archive(request, row, {})
        ),
    )

    validate = button(
        "validate",
        gettext_lazy("Validate"),
        _validate,
        description=gettext_lazy("Build the program and list every problem. Nothing changes."),
        done=gettext_lazy("The program has been checked; what is wrong, if anything, is listed."),
        icon="rule",
    )
    submit = button(
        "submit",
        gettext_lazy("Submit"),
        _submit,
        description=gettext_lazy("The program is validated; its content is frozen from then on."),
        available=_is_draft,
        icon="outbox",
        variant=ActionVariant.PRIMARY,
    )
    deploy = button(
        "deploy",
        gettext_lazy("Deploy"),
        _deploy,
        description=gettext_lazy("This version becomes the production one; the former one is archived."),
        form_class=ReasonDialog,
        available=lambda row: row.status in (ProgramStatus.TESTING, ProgramStatus.ARCHIVED),
        icon="rocket_launch",
        variant=ActionVariant.PRIMARY,
    )
    archive = button(
        "archive",
        gettext_lazy("Archive"),
        _archive,
        description=gettext_lazy("Nothing new runs on this version."),
        available=lambda row: row.status != ProgramStatus.ARCHIVED,
        icon="inventory_2",
        variant=ActionVariant.DANGER,
    )
    roll_back = button(
        "roll_back",
        gettext_lazy("Roll back"),
        _roll_back,
        description=gettext_lazy("An earlier version becomes the production one again."),
        form_class=RollBackDialog,
        available=lambda row: row.status == ProgramStatus.PRODUCTION,
        icon="undo",
    )
    new_version = button(
        "new_version",
        gettext_lazy("New version"),
        _new_version,
        description=gettext_lazy("A draft with a copy of everything."),
        icon="content_copy",
    )

    def get_urls(self) -> list[URLPattern]:
        own = path(
            "<uuid:program_id>/timeline/",
            self.admin_site.admin_view(self.timeline_view),
            name="programs_program_timeline",
        )
        return [own, *super().get_urls()]

    def timeline_view(self, request: HttpRequest, program_id: Any) -> HttpResponse:
        return timeline_page(request, self._visible(request, str(program_id)))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        frozen = () if _is_draft(obj) else ("config",)
        return (*self.readonly_fields, "name", *frozen) if obj else self.readonly_fields

    def get_inlines(self, request: HttpRequest, obj: Any) -> list[Any]:
        """Connections name modules, so that there are none before the program has been saved."""
        return [ModuleInline, ConnectionInline] if obj else [ModuleInline]

    def perform_create(self, request: HttpRequest, fields: dict[str, Any]) -> Program:
        return services.create_program(actor=actor_of(request), **fields)

    def perform_update(self, request: HttpRequest, row: Program, fields: dict[str, Any]) -> Program:
        return services.update_program(actor=actor_of(request), program=row, **fields) if fields else row

    def perform_delete(self, request: HttpRequest, row: Program) -> None:
        services.delete_program(actor=actor_of(request), program=row)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        for formset in formsets:
            parts = _PARTS[formset.model](request, form.instance)
            formset.deleted_objects = [parts.remove(item.instance) for item in _deleted(formset)]
            formset.changed_objects, formset.new_objects = [], []
            for item in _kept(formset):
                if item.instance._state.adding:
                    formset.new_objects.append(parts.add(item.cleaned_data))
                else:
                    changed = {name: item.cleaned_data[name] for name in item.changed_data}
                    formset.changed_objects.append((parts.change(item.instance, changed), item.changed_data))

    @display(description=gettext_lazy("status"), ordering="status", label=STATUS_COLOURS)  # type: ignore[untyped-decorator]  # unfold has no types
    def coloured_status(self, row: Program) -> tuple[str, str]:
        return row.status, str(row.get_status_display())

    @admin.display(description=gettext_lazy("scores"))
    def scores(self, row: Program) -> str:
        return scores_table(row.metrics)

    @admin.display(description=gettext_lazy("description"))
    def description_start(self, row: Program) -> str:
        return row.description[:80]


class _Modules:
    """The inline of modules as service calls."""

    names: ClassVar[tuple[str, ...]] = ModuleInline.fields

    def __init__(self, request: HttpRequest, program: Program) -> None:
        self.actor = actor_of(request)
        self.program = program

    def add(self, given: dict[str, Any]) -> Module:
        fields = {name: given[name] for name in self.names}
        module = ModuleInput(**{**fields, "config": fields["config"] or {}})
        return services.add_module(actor=self.actor, program=self.program, module=module)

    def change(self, module: Module, changed: dict[str, Any]) -> Module:
        if "config" in changed:
            changed["config"] = changed["config"] or {}
        # The form has written on its own copy of the row.
        return services.update_module(actor=self.actor, module=Module.objects.get(pk=module.pk), **changed)

    def remove(self, module: Module) -> Module:
        services.remove_module(actor=self.actor, module=module)
        return module


class _Connections:
    """The inline of connections as service calls; a changed connection is another one."""

    def __init__(self, request: HttpRequest, program: Program) -> None:
        self.actor = actor_of(request)
        self.program = program

    def add(self, given: dict[str, Any]) -> ModuleConnection:
        keys = {side: given[side].key if given[side] else "" for side in ("from_module", "to_module")}
        connection = ConnectionSpec(
            from_module=keys["from_module"],
            from_field=given["from_field"],
            to_module=keys["to_module"],
            to_field=given["to_field"],
        )
        return services.add_connection(actor=self.actor, program=self.program, connection=connection)

    def change(self, connection: ModuleConnection, changed: dict[str, Any]) -> ModuleConnection:
        now = {name: changed.get(name, getattr(connection, name)) for name in ConnectionInline.fields}
        services.remove_connection(actor=self.actor, connection=connection)
        return self.add(now)

    def remove(self, connection: ModuleConnection) -> ModuleConnection:
        services.remove_connection(actor=self.actor, connection=connection)
        return connection


_PARTS: dict[Any, Any] = {Module: _Modules, ModuleConnection: _Connections}


def _deleted(formset: Any) -> Iterable[Any]:
    return [form for form in formset.initial_forms if form in formset.deleted_forms]


def _kept(formset: Any) -> Iterable[Any]:
    return [form for form in formset.forms if form.has_changed() and form not in formset.deleted_forms]
