"""A program that is ready to run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from programs.runtime.checks import InputCheck
from programs.runtime.graph import ProgramGraph
from programs.runtime.modules import ProgramModule
from programs.types import ProgramSpec


@dataclass(frozen=True, slots=True, eq=False)
class BuiltProgram:
    """A built program, shared by concurrent executions.

    `language_models` are the ids that a run must bring beside the default, those of programs used as tools included.
    `depth` is 1, plus that of the deepest program it uses as a tool. `repeatable` says that a run may be attempted
    again, which a tool with effects forbids. `tools` are the programs that its agents use, by reference (`name@3`).
    """

    spec: ProgramSpec
    digest: str
    graph: ProgramGraph
    module: ProgramModule
    inputs: InputCheck
    language_models: frozenset[str]
    depth: int
    repeatable: bool
    tools: Mapping[str, BuiltProgram]
