"""Building a program to see whether it can be built: nothing is kept, nothing is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from django.conf import settings

from datasets.selectors import search_corpus
from mlops.errors import Invalid, Problem
from programs.runtime.build import build, problems_of_program
from programs.runtime.built import BuiltProgram
from programs.runtime.ports import Ports
from programs.runtime.tools import NotRegistrable, load_custom_modules, load_registered
from programs.selectors.specs import program_spec
from programs.selectors.tools import ToolTree

T = TypeVar("T")


def problems_of_building(tree: ToolTree) -> list[Problem]:
    """Everything that keeps the root of `tree` from being built, what settings register included."""
    spec = program_spec(tree.programs[tree.root])
    ports = _ports(tree, tree.root, ())
    if problems := problems_of_program(spec, ports):
        return list(problems)
    try:
        build(spec, ports)
    except Invalid as refusal:
        return list(refusal.problems)
    return []


def _ports(tree: ToolTree, reference: str, path: tuple[str, ...]) -> Ports:
    inside = (*path, reference)
    tools = {tool: _built(tree, tool, inside) for tool in tree.tools.get(reference, ()) if tool not in inside}
    return Ports(
        retrieve=search_corpus,
        tools=_registered(load_registered, settings.SIGNET_TOOLS),
        custom_modules=_registered(load_custom_modules, settings.SIGNET_MODULES),
        programs={tool: built for tool, built in tools.items() if built is not None},
    )


def _built(tree: ToolTree, reference: str, path: tuple[str, ...]) -> BuiltProgram | None:
    """A program that is a tool, or None when it does not exist or cannot be built."""
    if reference not in tree.programs:
        return None
    try:
        return build(program_spec(tree.programs[reference]), _ports(tree, reference, path))
    except Invalid:
        return None


def _registered(load: Callable[[Mapping[str, str]], dict[str, T]], names: Mapping[str, Any]) -> dict[str, T]:
    """What can be loaded: a broken registration is a problem of the programs that use it, not of all."""
    loaded: dict[str, T] = {}
    for name, target in names.items():
        try:
            loaded |= load({name: target})
        except NotRegistrable:
            continue
    return loaded
