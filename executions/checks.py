"""System checks: what settings register must be there when the process starts, not when a program first asks for it."""

from __future__ import annotations

from typing import Any

from django.core.checks import Error

from executions.services.ports import registered_modules, registered_tools
from executions.services.scoring import registered_metrics
from programs.runtime.tools import NotRegistrable


def registrations(app_configs: Any = None, **options: Any) -> list[Error]:
    """Whether every tool, custom module and metric of the settings can be imported (`executions.E001` to `E003`)."""
    found = []
    for load, variable, number in (
        (registered_tools, "SIGNET_TOOLS", 1),
        (registered_modules, "SIGNET_MODULES", 2),
        (registered_metrics, "SIGNET_METRICS", 3),
    ):
        try:
            load()
        except NotRegistrable as error:
            hint = f"Correct {variable}: name=package.module:attribute, comma separated."
            found.append(Error(str(error), hint=hint, id=f"executions.E{number:03d}"))
    return found
