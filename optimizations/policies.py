"""Who may do what with optimizations and their candidates. Compiling itself is a right on the program."""

from __future__ import annotations

from typing import Any

from mlops.policies import Rule, engineers, of_programs
from programs.models import Program
from programs.policies import VisiblePolicy, inside_engineers, of_its_program, program_policy


def _on_program(actor: Any, row: Any) -> bool:
    """Engineers whom the program's group lets know of it; without a row, any engineer."""
    return engineers(actor, row) if row is None else inside_engineers(actor, row.program)


def _on_program_of_optimization(actor: Any, row: Any) -> bool:
    return _on_program(actor, None if row is None else row.optimization)


def _table(rule: Rule, *actions: str) -> dict[str, Rule]:
    return dict.fromkeys(actions, rule)


optimization_policy = VisiblePolicy("optimization", _table(_on_program, "view", "cancel"), reach=of_its_program)
candidate_policy = VisiblePolicy(
    "candidate",
    _table(_on_program_of_optimization, "view", "adopt"),
    reach=of_programs(lambda row: row.optimization.program.name),
)

compile_policy = VisiblePolicy(
    "program", {"view": inside_engineers, "compile": inside_engineers}, reach=program_policy.reach
)
"""Asked with a program."""


def _on_every_version(actor: Any, row: Any) -> bool:
    """Engineers who may know of all versions of a schedule's program; without a row, any engineer."""
    if row is None or not engineers(actor, row):
        return engineers(actor, row)
    known = Program.objects.known_to(actor)
    return not Program.objects.filter(name=row.program_name).exclude(pk__in=known.values("pk")).exists()


schedule_policy = VisiblePolicy(
    "schedule", {"create": engineers, **_table(_on_every_version, "view", "change", "delete", "run")}
)
"""Any engineer inside of the program's group may change a schedule: whoever changes what it does becomes its owner."""
