"""The admin pages of executions: a list to find one, a page to understand it, a form to make one."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display
from unfold.enums import ActionVariant

from executions.admin.collecting import collect_selected
from executions.admin.forms import ExecuteForm, RateDialog, RefundDialog, ReplayDialog
from executions.admin.lineage_page import DemoFilter
from executions.admin.trace import pretty, trace_html, usd
from executions.models import Execution, Feedback
from executions.policies import execution_policy
from executions.querysets import HEAVY_COLUMNS
from executions.selectors import inputs_of
from executions.services.cancel import cancel_execution
from executions.services.execute import execute_program
from executions.services.feedback import rate_execution
from executions.services.refund import refund_execution
from executions.services.replay import replay_execution
from executions.types import ExecutionState, Source
from mlops.admin.base import ReadOnlyInline, ServiceAdmin, actor_of
from mlops.admin.buttons import bulk_action, button
from mlops.errors import DomainError
from mlops.money import as_decimal
from mlops.services.rates import check_rate
from mlops.types import MICRO_PER_CREDIT
from programs.models import Program
from programs.selectors import access_program

WAIT_S = 20.0
"""How long the form waits for the answer before it shows the execution as it is."""

STATE_COLOURS = {
    ExecutionState.PENDING.value: "info",
    ExecutionState.RUNNING.value: "warning",
    ExecutionState.COMPLETED.value: "success",
    ExecutionState.FAILED.value: "danger",
}


def _cancel(request: HttpRequest, row: Execution, data: dict[str, Any]) -> None:
    cancel_execution(actor=actor_of(request), execution=row)


def _rate(request: HttpRequest, row: Execution, data: dict[str, Any]) -> None:
    rate_execution(
        actor=actor_of(request), execution=row, name=data["name"], score=data["score"], comment=data["comment"]
    )


def _replay(request: HttpRequest, row: Execution, data: dict[str, Any]) -> str:
    actor = actor_of(request)
    check_rate(actor)
    again = replay_execution(actor=actor, execution=row, program=data["program"] or None, source=Source.ADMIN)
    return page_of(again)


def _refund(request: HttpRequest, row: Execution, data: dict[str, Any]) -> None:
    key = f"refund:{data['once']}"
    refund_execution(actor=actor_of(request), execution=row, amount=data["amount"], key=key, note=data["note"])


def page_of(execution: Execution) -> str:
    return reverse("admin:executions_execution_change", args=[execution.pk])


class FeedbackInline(ReadOnlyInline):
    model = Feedback
    policy = execution_policy
    fields = readonly_fields = ("name", "score", "comment", "user", "created_at")


@admin.register(Execution)
class ExecutionAdmin(ServiceAdmin):
    """Executions are read here, and cancelled, replayed and rated; nobody edits one."""

    policy = execution_policy
    list_display = ("created_at", "program", "state_label", "user", "source", "duration", "total_tokens", "cost_text")
    list_filter = ("state", "mode", "source", ("program", admin.RelatedOnlyFieldListFilter), DemoFilter)
    list_select_related = ("program", "user")
    search_fields = ("=id", "=error_code", "=assignment_key")
    search_help_text = _("Id, error code or assignment key.")
    ordering = ("-id",)
    buttons = ("cancel", "replay", "rate", "refund")
    actions = ("cancel_selected", collect_selected)
    inlines = (FeedbackInline,)
    readonly_fields = (
        "program", "prompt_set", "user", "source", "mode", "state", "attempt", "leased_by", "created_at",
        "started_at", "finished_at", "duration", "input_json", "output_json", "error_text", "notice", "usage_json",
        "cost_text", "credits_text", "trace_tree", "models_json", "assignment_key", "replay_of",
    )  # fmt: skip
    fieldsets = (
        (None, {"fields": ("notice", "state", "program", "user", "error_text", "input_json", "output_json")}),
        (_("Trace"), {"fields": ("trace_tree",)}),
        (_("Usage"), {"fields": ("duration", "cost_text", "credits_text", "usage_json", "models_json")}),
        (
            _("Provenance"),
            {
                "classes": ("collapse",),
                "fields": (
                    "prompt_set", "source", "mode", "assignment_key", "replay_of", "attempt", "leased_by",
                    "created_at", "started_at", "finished_at",
                ),
            },
        ),
    )  # fmt: skip

    class Media:
        js = ("mlops/follow.js", "executions/live.js")
        css = {"all": ("executions/trace.css",)}

    cancel = button(
        "cancel", _("Cancel"), _cancel, description=_("It stops within one model call; what was used is charged."),
        done=_("Cancellation asked for."), available=lambda row: not row.is_terminal, icon="cancel",
        variant=ActionVariant.DANGER,
    )  # fmt: skip
    replay = button(
        "replay", _("Replay"), _replay, form_class=ReplayDialog, icon="replay",
        description=_("Executes the same input again; it counts as your execution."),
    )  # fmt: skip
    rate = button("rate", _("Rate"), _rate, form_class=RateDialog, icon="thumb_up")
    refund = button(
        "refund", _("Refund"), _refund, form_class=RefundDialog, icon="currency_exchange",
        description=_("Gives back to its user what it charged, or a part of it."),
        available=lambda row: row.is_terminal and row.credits_used > 0,
    )  # fmt: skip
    cancel_selected = bulk_action(
        "cancel_selected",
        _("Cancel selected executions"),
        lambda request, row: cancel_execution(actor=actor_of(request), execution=row),
        action="cancel",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request)
        match = request.resolver_match
        is_list = match is not None and (match.url_name or "").endswith("_changelist")
        return rows.defer(*HEAVY_COLUMNS) if is_list else rows

    def get_urls(self) -> list[URLPattern]:
        own = path(
            "execute/<uuid:program_id>/",
            self.admin_site.admin_view(self.execute_view),
            name="executions_execution_execute",
        )
        urls: list[URLPattern] = super().get_urls()
        return [own, *urls]

    def execute_view(self, request: HttpRequest, program_id: Any) -> HttpResponse:
        """POST of the form on a program's page: run it and go to the execution."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        actor = actor_of(request)
        try:
            program = access_program(actor=actor, ref=program_id, action="execute")
        except DomainError as error:
            messages.error(request, error.message)
            return HttpResponseRedirect(reverse("admin:programs_program_changelist"))
        form = ExecuteForm(inputs_of(program), request.POST)
        if form.is_valid():
            try:
                check_rate(actor)
                execution = execute_program(
                    actor=actor, program=program, input=form.values(), source=Source.ADMIN, wait_s=WAIT_S
                )
                return HttpResponseRedirect(page_of(execution))
            except DomainError as error:
                form.refuse(error)
        return self._form_page(request, program, form)

    def _form_page(self, request: HttpRequest, program: Program, form: ExecuteForm) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": _("Execute %(program)s") % {"program": program},
            "form": form,
            "program": program,
            "opts": self.model._meta,
        }
        return render(request, "executions/admin/execute.html", context, status=400)

    @display(description=_("state"), label=STATE_COLOURS, ordering="state")  # type: ignore[untyped-decorator]
    def state_label(self, row: Execution) -> tuple[str, str]:
        return row.state, row.get_state_display()

    @admin.display(description=_("duration"))
    def duration(self, row: Execution) -> str:
        return "-" if row.duration_ms is None else f"{row.duration_ms:,.0f} ms"

    @admin.display(description=_("cost"))
    def cost_text(self, row: Execution) -> str:
        return usd(row.cost) if row.is_terminal else "-"

    @admin.display(description=_("credits"))
    def credits_text(self, row: Execution) -> str:
        used, reserved = (as_decimal(value, MICRO_PER_CREDIT) for value in (row.credits_used, row.credits_reserved))
        return str(_("%(used)s used of %(reserved)s reserved") % {"used": used, "reserved": reserved})

    @admin.display(description=_("input"))
    def input_json(self, row: Execution) -> SafeString:
        return pretty(row.input)

    @admin.display(description=_("output"))
    def output_json(self, row: Execution) -> SafeString:
        return pretty(row.output)

    @admin.display(description=_("token usage"))
    def usage_json(self, row: Execution) -> SafeString:
        return pretty(row.token_usage)

    @admin.display(description=_("language models"))
    def models_json(self, row: Execution) -> SafeString:
        return pretty(row.language_models)

    @admin.display(description=_("error"))
    def error_text(self, row: Execution) -> SafeString | str:
        if not row.error_code:
            return "-"
        return format_html("<strong>{}</strong> {}", row.error_code, row.error_message)

    @admin.display(description=_("note"))
    def notice(self, row: Execution) -> SafeString:
        """What a reader must know, and where live changes go."""
        text = row.notice
        events = "" if row.is_terminal else reverse("execution-events", args=[row.pk])
        kind = "signet-notice" if text else ""
        return format_html('<span class="{}" data-events="{}">{}</span>', kind, events, text or "-")

    @admin.display(description=_("trace"))
    def trace_tree(self, row: Execution) -> SafeString:
        return trace_html(row)
