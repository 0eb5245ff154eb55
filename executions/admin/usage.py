"""Usage in the admin site: a page with charts, and what a program cost lately on its page."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin
from django.core.validators import MaxValueValidator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from executions.admin.charts import cost_chart, executions_chart, latency_chart
from executions.admin.trace import usd
from executions.models import UsageDay
from executions.models.usage import USAGE_KIND_CHOICES
from executions.policies import execution_policy
from executions.selectors.usage import Group, UsageQuery, UsageReport, month_before, tomorrow, usage_report
from executions.types import GroupBy, UsageKind
from mlops.admin import links
from mlops.admin.base import ServiceAdmin, actor_of
from mlops.errors import DomainError
from mlops.models import User
from mlops.policies import engineers
from programs.models import Program

ROWS = 200
LAST_DAY = date(9999, 12, 30)
"""The calendar has a day after it."""

GROUPS = [
    (GroupBy.DAY.value, gettext_lazy("Day")),
    (GroupBy.PROGRAM.value, gettext_lazy("Program")),
    (GroupBy.VERSION.value, gettext_lazy("Program version")),
    (GroupBy.PROMPT_VERSION.value, gettext_lazy("Prompt version")),
    (GroupBy.USER.value, gettext_lazy("User")),
    (GroupBy.LANGUAGE_MODEL.value, gettext_lazy("Language model")),
]


def _date(label: Any) -> forms.DateField:
    widget = UnfoldAdminTextInputWidget(attrs={"type": "date"})
    return forms.DateField(label=label, required=False, widget=widget, validators=[MaxValueValidator(LAST_DAY)])


def _text(label: Any) -> forms.CharField:
    return forms.CharField(label=label, required=False, max_length=255, widget=UnfoldAdminTextInputWidget())


class UsageForm(forms.Form):
    """What is told: people name the last day, which is included."""

    group_by = forms.ChoiceField(label=gettext_lazy("by"), choices=GROUPS, widget=UnfoldAdminSelectWidget())
    since = _date(gettext_lazy("first day"))
    last = _date(gettext_lazy("last day"))
    program = _text(gettext_lazy("program"))
    user = _text(gettext_lazy("user name"))
    language_model = _text(gettext_lazy("language model"))
    kind = forms.ChoiceField(
        label=gettext_lazy("kind"),
        choices=[("", gettext_lazy("all")), *USAGE_KIND_CHOICES],
        required=False,
        widget=UnfoldAdminSelectWidget(),
    )

    def clean_user(self) -> User | None:
        name = self.cleaned_data["user"]
        found: User | None = User.objects.filter(username=name).first() if name else None
        if name and found is None:
            raise forms.ValidationError(_("There is no such account."))
        return found

    def query(self) -> UsageQuery:
        given = self.cleaned_data
        until = given["last"] + timedelta(days=1) if given["last"] else tomorrow()
        user: User | None = given["user"]
        return UsageQuery(
            GroupBy(given["group_by"]),
            given["since"] or month_before(until),
            until,
            program=given["program"],
            user=None if user is None else user.pk,
            language_model=given["language_model"],
            kind=UsageKind(given["kind"]) if given["kind"] else None,
        )


@admin.register(UsageDay)
class UsageAdmin(ServiceAdmin):
    """One page in place of a list: the sums are read as reports."""

    policy = execution_policy

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        form = UsageForm({"group_by": GroupBy.DAY.value, **request.GET.dict()})
        shown = _shown(request, form) if form.is_valid() else {}
        context = {**self.admin_site.each_context(request), "title": _("Usage"), "form": form, **shown}
        return render(request, "executions/admin/usage.html", context)


def _shown(request: HttpRequest, form: UsageForm) -> dict[str, Any]:
    """The report and its charts; a question that is refused is a complaint of the form."""
    actor, query = actor_of(request), form.query()
    try:
        report = usage_report(actor=actor, query=query, size=ROWS)
    except DomainError as error:
        form.add_error("last", error.message)
        return {}
    by_day = report if query.group_by is GroupBy.DAY else usage_report(actor=actor, query=_by_day(query))
    return {"report": report, "table": _table(report), "charts": _charts(by_day), "file": _file(query)}


def cost_panel(request: HttpRequest, program: Program) -> SafeString | None:
    """The last 30 days of a program version; nothing for whom only their own usage concerns, and when nothing ran."""
    actor = actor_of(request)
    if not engineers(actor, program):
        return None
    until = tomorrow()
    query = UsageQuery(GroupBy.DAY, month_before(until), until, program=str(program.pk))
    report = usage_report(actor=actor, query=query)
    if not report.groups:
        return None
    all_versions = f"{reverse('admin:executions_usageday_changelist')}?{urlencode({'program': program.name})}"
    context = {"total": _cells(report.total), "chart": cost_chart(report), "address": all_versions}
    return SafeString(render_to_string("executions/admin/cost_panel.html", context, request=request))


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What django-unfold asks before it draws the first page: the last 30 days of what this person may know of."""
    until = tomorrow()
    report = usage_report(actor=actor_of(request), query=UsageQuery(GroupBy.DAY, month_before(until), until))
    if report.groups:
        context["usage"] = {"total": _cells(report.total), "chart": cost_chart(report)}
    return context


def add_usage_to_pages() -> None:
    links.add_panel("programs.program", links.Panel("cost", gettext_lazy("Cost of the last 30 days"), cost_panel))
    admin.site.index_template = "executions/admin/index.html"


def _by_day(query: UsageQuery) -> UsageQuery:
    return UsageQuery(
        GroupBy.DAY, query.since, query.until, query.program, query.user, query.language_model, query.kind
    )


def _charts(report: UsageReport) -> list[dict[str, str]]:
    if not report.groups:
        return []
    return [cost_chart(report), executions_chart(report), latency_chart(report)]


def _file(query: UsageQuery) -> str:
    asked = {
        "format": "csv",
        "group_by": query.group_by.value,
        "since": query.since.isoformat(),
        "until": query.until.isoformat(),
        "program": query.program,
        "user": query.user,
        "language_model": query.language_model,
        "kind": query.kind and query.kind.value,
    }
    return f"{reverse('usage')}?{urlencode({name: value for name, value in asked.items() if value})}"


def _table(report: UsageReport) -> dict[str, Any]:
    headers = [
        str(dict(GROUPS)[report.query.group_by.value]), _("executions"), _("failed"), _("evaluations"),
        _("optimizations"), _("input tokens"), _("output tokens"), _("cost"), _("of unknown cost"), _("p50 ms"),
        _("p95 ms"),
    ]  # fmt: skip
    rows = [[_name(report.query.group_by, group), *_cells(group.figures).values()] for group in report.groups]
    return {"headers": headers, "rows": [*rows, [_("all"), *_cells(report.total).values()]]}


def _name(group_by: GroupBy, group: Group) -> str:
    of = group.of
    match group_by:
        case GroupBy.VERSION:
            return f"{of['program__name']}@{of['program__version']}"
        case GroupBy.PROMPT_VERSION:
            prompt = of["prompt_set__versions__version"] or "-"
            module = of["prompt_set__versions__module__key"] or "-"
            return f"{of['program__name']}@{of['program__version']} {module} {prompt}"
        case GroupBy.USER:
            return str(of["user__username"])
        case _:
            return str(next(iter(of.values())))


def _cells(found: Any) -> dict[str, str]:
    latency = found.latency
    return {
        "executions": f"{found.executions:,}",
        "failed": f"{found.failed:,}" + ("" if not found.failed else f" ({100 * (found.error_rate or 0):.1f} %)"),
        "evaluations": f"{found.evaluations:,}",
        "optimizations": f"{found.optimizations:,}",
        "input_tokens": f"{found.input_tokens:,}",
        "output_tokens": f"{found.output_tokens:,}",
        "cost": usd(found.cost),
        "unpriced": f"{found.unpriced:,}",
        "p50": "" if latency is None else f"{latency.p50_ms:,.0f}",
        "p95": "" if latency is None else f"{latency.p95_ms:,.0f}",
    }
