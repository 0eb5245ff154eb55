"""From a program as a value to a program that runs, with its learned state; built once and kept."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import dspy

from mlops.errors import Invalid, Problem, all_of
from programs.runtime.agents import build_agent, tool_name
from programs.runtime.built import BuiltProgram
from programs.runtime.checks import InputCheck
from programs.runtime.custom import build_custom
from programs.runtime.graph import inspected
from programs.runtime.modules import ProgramModule
from programs.runtime.ports import Ports
from programs.runtime.prompts import learn
from programs.runtime.retrieval import RetrieveModule
from programs.runtime.signatures import build_signature
from programs.types import ModuleKind, ModuleSpec, ProgramSpec

MAX_DEPTH = 3
"""Programs within each other: a program, a program it uses as a tool, and one more."""

MAX_KEPT = 256


def problems_of_program(spec: ProgramSpec, ports: Ports) -> tuple[Problem, ...]:
    """Everything that is wrong with a program, what it needs from outside included. Builds it to be sure."""
    try:
        build(spec, ports)
    except Invalid as refusal:
        return refusal.problems
    return ()


def build(spec: ProgramSpec, ports: Ports) -> BuiltProgram:
    """The program, ready to run. Raises `Invalid` (code `program_invalid`) with every problem at once."""
    graph, problems = inspected(spec)
    problems = (*problems, *_problems_with_ports(spec, ports))
    if graph is None or problems:
        raise all_of(problems, code="program_invalid", message="The program cannot be built.")
    tools = {ref: ports.programs[ref] for ref in _program_references(spec)}
    parts = tools.values()
    own_models = {module.language_model for module in spec.modules if module.language_model}
    return BuiltProgram(
        spec=spec,
        digest=spec.digest(),
        graph=graph,
        module=ProgramModule(graph, {module.key: _child(module, ports) for module in spec.modules}),
        inputs=InputCheck(graph.inputs),
        language_models=frozenset(own_models).union(*(part.language_models for part in parts)),
        depth=1 + max((part.depth for part in parts), default=0),
        repeatable=all(part.repeatable for part in parts)
        and all(ports.tools[name].spec.repeatable for name in _tool_references(spec)),
        tools=tools,
    )


_kept: OrderedDict[tuple[Any, ...], BuiltProgram] = OrderedDict()
_lock = threading.Lock()


def built(spec: ProgramSpec, ports: Ports) -> BuiltProgram:
    """`build(spec, ports)`, kept by content: the same program with the same ports is built once per process."""
    key = _identity(spec, ports)
    with _lock:
        if (found := _kept.get(key)) is not None:
            _kept.move_to_end(key)
            return found
    made = build(spec, ports)
    with _lock:
        _kept[key] = made
        if len(_kept) > MAX_KEPT:
            _kept.popitem(last=False)
    return made


def _identity(spec: ProgramSpec, ports: Ports) -> tuple[Any, ...]:
    tools = tuple(ports.tools.get(name) for name in _tool_references(spec))
    programs = tuple(ports.programs[ref].digest for ref in _program_references(spec) if ref in ports.programs)
    custom = tuple(ports.custom_modules.get(name) for name in _custom_references(spec))
    return spec.digest(), ports.retrieve, ports.aretrieve, tools, programs, custom


def _child(module: ModuleSpec, ports: Ports) -> dspy.Module:
    if module.kind is ModuleKind.RETRIEVE:
        return RetrieveModule(module, ports)
    assert module.signature is not None
    signature = build_signature(module.signature)
    if module.kind is ModuleKind.CUSTOM:
        return build_custom(module, signature, ports.custom_modules[module.config["module"]])
    child = _predicting(module, signature, ports)
    if module.prompt:
        learn(child, module.prompt)
    return child


def _predicting(module: ModuleSpec, signature: type[dspy.Signature], ports: Ports) -> dspy.Module:
    parameters = dict(module.config.get("parameters", {}))
    if module.kind is ModuleKind.REACT:
        return build_agent(module, signature, ports)
    kind = dspy.ChainOfThought if module.kind is ModuleKind.CHAIN_OF_THOUGHT else dspy.Predict
    return kind(signature, **parameters)


def _problems_with_ports(spec: ProgramSpec, ports: Ports) -> list[Problem]:
    return [
        replace(problem, field=f"modules.{module.key}.{problem.field}")
        for module in spec.modules
        for problem in _problems_of_one(module, ports)
    ]


def _problems_of_one(module: ModuleSpec, ports: Ports) -> Iterable[Problem]:
    if module.kind is ModuleKind.CUSTOM:
        name = module.config.get("module")
        if isinstance(name, str) and name not in ports.custom_modules:
            yield Problem("unknown_module", f"No module {name!r} is registered.", "config.module")
        return
    taken = {"submit"}
    for index, item in enumerate(_tools(module)):
        path = f"config.tools.{index}"
        if problem := _problem_of_tool(item, module, ports):
            yield replace(problem, field=path)
        elif tool_name(item) in taken:
            yield Problem("duplicate_tool", f"There is another tool {tool_name(item)!r}.", path)
        taken.add(tool_name(item))


def _problem_of_tool(item: Any, module: ModuleSpec, ports: Ports) -> Problem | None:
    if isinstance(item, str):
        if item not in ports.tools:
            return Problem("unknown_tool", f"No tool {item!r} is registered.")
        if ports.tools[item].needs_corpus and not module.config.get("corpus"):
            return Problem("missing_corpus", f"The tool {item!r} searches a corpus; the module's config names none.")
        return None
    reference = item["program"]
    if reference not in ports.programs:
        return Problem("unknown_program", f"There is no program {reference!r} to use as a tool.")
    if ports.programs[reference].depth >= MAX_DEPTH:
        return Problem("too_deep", f"Programs are nested at most {MAX_DEPTH} deep.")
    return None


def _tools(module: ModuleSpec) -> list[Any]:
    """Well-formed tools of a react module."""
    tools = module.config.get("tools") if module.kind is ModuleKind.REACT else None
    if not isinstance(tools, list | tuple):
        return []
    return [
        item
        for item in tools
        if isinstance(item, str) or (isinstance(item, Mapping) and isinstance(item.get("program"), str))
    ]


def _tool_references(spec: ProgramSpec) -> list[str]:
    return [item for module in spec.modules for item in _tools(module) if isinstance(item, str)]


def _program_references(spec: ProgramSpec) -> list[str]:
    return [item["program"] for module in spec.modules for item in _tools(module) if not isinstance(item, str)]


def _custom_references(spec: ProgramSpec) -> list[str]:
    return [str(module.config.get("module")) for module in spec.modules if module.kind is ModuleKind.CUSTOM]
