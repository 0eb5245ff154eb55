"""Tools and custom modules that settings register by name. Rows only ever hold the name."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import dspy

from programs.types import ToolSpec

Search = Callable[[str], list[str]]
"""Searches the corpus of the module that uses a tool; gives the best passages first."""

Function = TypeVar("Function", bound=Callable[..., Any])

_DECLARATION = "signet_tool"


class NotRegistrable(ValueError):
    """What settings name cannot be used; the message says which name and why."""


class ToolRefusal(Exception):
    """Raised by a tool to tell the language model what to do differently. The message is shown to the model."""


@dataclass(frozen=True, slots=True)
class RegisteredTool:
    """A tool as the runtime calls it: `function`, or with `needs_corpus` a factory that takes a `Search`."""

    spec: ToolSpec
    function: Callable[..., Any]
    needs_corpus: bool = False

    def bound(self, search: Search | None) -> Callable[..., Any]:
        """The function that the language model calls."""
        if not self.needs_corpus:
            return self.function
        bound: Callable[..., Any] = self.function(search)
        return bound


@dataclass(frozen=True, slots=True)
class _Declaration:
    description: str
    repeatable: bool
    needs_corpus: bool


def tool(*, description: str, repeatable: bool, needs_corpus: bool = False) -> Callable[[Function], Function]:
    """Declare a typed function (sync or async) as a tool.

    `repeatable` says that calling it twice does no harm, so that an execution may be attempted again. With
    `needs_corpus` the function is a factory: it takes a `Search` and returns the function that the model calls.
    """

    def declared(function: Function) -> Function:
        setattr(function, _DECLARATION, _Declaration(description, repeatable, needs_corpus))
        return function

    return declared


def load_registered(registered: Mapping[str, str]) -> dict[str, RegisteredTool]:
    """Tools by name from `{"name": "package.module:function"}`. Raises `NotRegistrable`."""
    return {name: _tool_at(name, path) for name, path in registered.items()}


def load_custom_modules(registered: Mapping[str, str]) -> dict[str, Callable[..., dspy.Module]]:
    """Classes of custom modules by name from `{"name": "package.module:Class"}`. Raises `NotRegistrable`."""
    return {name: _module_at(name, path) for name, path in registered.items()}


def _tool_at(name: str, path: str) -> RegisteredTool:
    function = imported(name, path)
    declaration = getattr(function, _DECLARATION, None)
    if not isinstance(declaration, _Declaration):
        raise NotRegistrable(f"{name}: {path} is not declared with @tool.")
    spec = ToolSpec(name, declaration.description, declaration.repeatable)
    return RegisteredTool(spec, function, declaration.needs_corpus)


def _module_at(name: str, path: str) -> Callable[..., dspy.Module]:
    found = imported(name, path)
    if not isinstance(found, type) or not issubclass(found, dspy.Module):
        raise NotRegistrable(f"{name}: {path} is not a dspy.Module.")
    return found


def imported(name: str, path: str) -> Any:
    """What settings register as `name` at `path`, `package.module:name`. Raises `NotRegistrable`."""
    if not all(path.partition(":")):
        raise NotRegistrable(f"{name}: {path!r} is not of the form package.module:name.")
    try:
        return pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise NotRegistrable(f"{name}: {path} cannot be imported: {error}") from error
