"""What executions add to the admin page of a program: a form to execute it, and what ran lately."""

from __future__ import annotations

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from executions.admin.forms import ExecuteForm
from executions.admin.trace import usd
from executions.models import Execution
from executions.selectors import inputs_of
from executions.services.execute import EXECUTABLE
from mlops.admin import links
from mlops.admin.base import actor_of
from programs.models import Program
from programs.policies import program_policy

RECENT = 10


def execute_panel(request: HttpRequest, program: Program) -> SafeString | None:
    if program.status not in EXECUTABLE or not program_policy.can(actor_of(request), "execute", program):
        return None
    action = reverse("admin:executions_execution_execute", args=[program.pk])
    context = {"form": ExecuteForm(inputs_of(program)), "action": action}
    return SafeString(render_to_string("executions/admin/execute_panel.html", context, request=request))


def recent_panel(request: HttpRequest, program: Program) -> SafeString | None:
    rows = Execution.objects.visible_to(actor_of(request)).light().filter(program=program).order_by("-id")[:RECENT]
    shown = [{"execution": row, "cost": usd(row.cost) if row.is_terminal else ""} for row in rows]
    if not shown:
        return None
    return SafeString(render_to_string("executions/admin/recent_panel.html", {"rows": shown, "program": program}))


def add_to_program_page() -> None:
    links.add_panel("programs.program", links.Panel("execute", _("Execute"), execute_panel))
    links.add_panel("programs.program", links.Panel("executions", _("Latest executions"), recent_panel))
