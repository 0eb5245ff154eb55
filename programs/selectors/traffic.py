"""How the executions of a program are spread over its prompt versions."""

from __future__ import annotations

from django.db.models import Count

from programs.models import Program, PromptVersion


def weighs_prompt_versions(program: Program) -> bool:
    """Whether any module of `program` shares its traffic between several prompt versions."""
    shared = PromptVersion.objects.filter(module__program=program, traffic_percentage__gt=0).values("module")
    return bool(shared.annotate(versions=Count("pk")).filter(versions__gt=1).exists())
