"""Programs that are tools of programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db.models import Q

from programs.models import Module, Program
from programs.runtime.build import MAX_DEPTH
from programs.types import ModuleKind


@dataclass(slots=True)
class ToolTree:
    """A program with all that it uses as tools, by reference (`triage@3`); what does not exist is not among them."""

    root: str
    programs: dict[str, Program] = field(default_factory=dict)
    tools: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def leads_back(self, reference: str, seen: frozenset[str] = frozenset()) -> bool:
        """Whether `reference` is the root, or uses it."""
        if reference == self.root:
            return True
        inner = (tool for tool in self.tools.get(reference, ()) if tool not in seen)
        return any(self.leads_back(tool, seen | {reference}) for tool in inner)


def tool_tree(program: Program) -> ToolTree:
    """What `program` uses as tools, as deep as is allowed; two queries per level."""
    tree = ToolTree(str(program), {str(program): program})
    level = [program]
    for _level in range(MAX_DEPTH):
        wanted = _pinned_by(level)
        tree.tools.update((str(item), wanted.get(item.pk, ())) for item in level)
        new = {reference for references in wanted.values() for reference in references} - tree.programs.keys()
        level = list(Program.objects.filter(_any_of(new))) if new else []
        if not level:
            break
        tree.programs.update((str(item), item) for item in level)
    return tree


def sub_programs_of(program: Program) -> list[Program]:
    """The pinned programs that `program` uses as tools, directly or through others; two queries per level."""
    return [item for item in tool_tree(program).programs.values() if item.pk != program.pk]


def tool_references(config: Mapping[str, Any]) -> tuple[str, ...]:
    """References such as `triage@3` among the tools of a ReAct module."""
    return tuple(tool["program"] for tool in config.get("tools", ()) if isinstance(tool, dict))


def _pinned_by(programs: Iterable[Program]) -> dict[UUID, tuple[str, ...]]:
    pinned: dict[UUID, tuple[str, ...]] = {}
    modules = Module.objects.filter(program__in=list(programs), kind=ModuleKind.REACT)
    for program, config in modules.values_list("program_id", "config"):
        pinned[program] = (*pinned.get(program, ()), *tool_references(config))
    return pinned


def _any_of(references: Iterable[str]) -> Q:
    wanted = Q(pk__in=[])
    for reference in references:
        name, _at, version = reference.partition("@")
        wanted |= Q(name=name, version=int(version))
    return wanted
