"""What a built program reaches outside of itself, given from above as plain callables."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import dspy

from programs.runtime.built import BuiltProgram
from programs.runtime.tools import RegisteredTool

Retrieve = Callable[[str, str, int, str], list[str]]
"""(corpus id, query, k, search) -> the best passages first; `search` is bm25, vector or hybrid. Called in a thread, so
it may block."""

AsyncRetrieve = Callable[[str, str, int, str], Awaitable[list[str]]]


@dataclass(frozen=True, slots=True, eq=False)
class Ports:
    """The world of a program. `aretrieve`, when given, is used on the event loop instead of a thread for `retrieve`.

    `programs` holds, by the reference that rows use (`name@3`), the built programs that may serve as tools.
    """

    retrieve: Retrieve | None = None
    aretrieve: AsyncRetrieve | None = None
    tools: Mapping[str, RegisteredTool] = field(default_factory=dict)
    custom_modules: Mapping[str, Callable[..., dspy.Module]] = field(default_factory=dict)
    programs: Mapping[str, BuiltProgram] = field(default_factory=dict)
