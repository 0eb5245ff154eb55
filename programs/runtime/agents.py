"""ReAct modules and their tools.

Whatever goes wrong in a tool becomes a short observation for the language model: no traceback, no path, nothing of the
exception but its kind, unless the tool raised `ToolRefusal` to say something to the model.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import dspy
from pydantic import PrivateAttr

from mlops.errors import Invalid
from mlops.runtime.adapters import adapter
from mlops.runtime.listening import unheard
from mlops.runtime.recorder import Span, current_recorder, span
from mlops.types import SpanKind
from programs.runtime.built import BuiltProgram
from programs.runtime.checks import as_plain
from programs.runtime.interfaces import DEFAULT_MAX_ITERATIONS
from programs.runtime.ports import Ports
from programs.runtime.retrieval import CorpusSearch
from programs.runtime.tools import ToolRefusal
from programs.types import ModuleSpec

MAX_OBSERVATION = 8_000
"""Characters of a tool's answer that go back to the language model."""

MAX_COMPLAINT = 300


class NoAnswer(ValueError):
    """The agent came to no answer within its iterations."""


class Agent(dspy.ReActV2):  # type: ignore[misc]  # DSPy is untyped
    """DSPy's agent over observed tools. `rules` is what DSPy adds to the instructions of the signature."""

    def __init__(self, signature: type[dspy.Signature], tools: list[dspy.Tool], max_iters: int) -> None:
        super().__init__(signature, tools, max_iters=max_iters)
        self.rules = self.react.signature.instructions.removeprefix(self.signature.instructions)
        submit = self.tools["submit"]
        self.tools["submit"] = _Submit(
            submit.func, name="submit", desc=submit.desc, args=submit.args, arg_types=submit.arg_types
        )

    def forward(self, **inputs: Any) -> dspy.Prediction:
        try:
            return super().forward(**inputs)
        except ValueError as error:
            raise NoAnswer("The agent came to no answer.") from error

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        try:
            return await super().aforward(**inputs)
        except ValueError as error:
            raise NoAnswer("The agent came to no answer.") from error


class _Submit(dspy.Tool):  # type: ignore[misc]  # DSPy is untyped
    """The tool that ends an agent's run. DSPy would show the model a traceback when its arguments do not fit."""

    def __call__(self, **arguments: Any) -> Any:
        try:
            return super().__call__(**arguments)
        except Exception as error:
            return _complaint(error)

    async def acall(self, **arguments: Any) -> Any:
        try:
            return await super().acall(**arguments)
        except Exception as error:
            return _complaint(error)


class ObservedTool(dspy.Tool):  # type: ignore[misc]  # DSPy is untyped
    """A tool with a span around each call, a bounded answer, and a sync and an async form."""

    _in_async: dspy.Tool = PrivateAttr()

    def __init__(self, function: Callable[..., Any], afunction: Callable[..., Any], **description: Any) -> None:
        super().__init__(function, **description)
        self._in_async = dspy.Tool(afunction, **description)

    def __call__(self, **arguments: Any) -> str:
        with span(SpanKind.TOOL, self.name, input=arguments) as opened:
            try:
                return _observed(opened, super().__call__(**arguments))
            except Exception as error:
                return _failed(opened, error)

    async def acall(self, **arguments: Any) -> str:
        with span(SpanKind.TOOL, self.name, input=arguments) as opened:
            try:
                return _observed(opened, await self._in_async.acall(**arguments))
            except Exception as error:
                return _failed(opened, error)


def build_agent(module: ModuleSpec, signature: type[dspy.Signature], ports: Ports) -> Agent:
    """The agent of a react module without problems."""
    search = CorpusSearch(ports, module.config) if module.config.get("corpus") else None
    tools = [_tool(item, ports, search) for item in module.config.get("tools", ())]
    agent = Agent(signature, tools, module.config.get("max_iterations", DEFAULT_MAX_ITERATIONS))
    agent.react.config = dict(module.config.get("parameters", {}))
    return agent


def tool_name(item: Any) -> str:
    """The name under which the language model calls a tool of a module's config."""
    return item if isinstance(item, str) else str(item["program"]).partition("@")[0]


def _tool(item: Any, ports: Ports, search: CorpusSearch | None) -> ObservedTool:
    if not isinstance(item, str):
        return _program_tool(item, ports.programs[item["program"]])
    registered = ports.tools[item]
    function = registered.bound(search)
    return ObservedTool(_in_sync(function), _in_async(function), name=item, desc=registered.spec.description)


def _in_async(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as a coroutine function; one that is sync runs in a thread, so that it cannot stop the event loop."""

    @wraps(function)
    async def called(**arguments: Any) -> Any:
        if inspect.iscoroutinefunction(function):
            return await _awaited(function, arguments)
        return await asyncio.to_thread(_called, function, arguments)

    return called


def _in_sync(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def called(**arguments: Any) -> Any:
        if inspect.iscoroutinefunction(function):
            return asyncio.run(_awaited(function, arguments))
        return _called(function, arguments)

    return called


class _ToolBroke(Exception):
    """A tool raised; only the kind of its exception may be shown."""


def _called(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    try:
        return function(**arguments)
    except (ToolRefusal, Invalid):
        raise
    except Exception as error:
        raise _ToolBroke(type(error).__name__) from error


async def _awaited(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    try:
        return await function(**arguments)
    except (ToolRefusal, Invalid):
        raise
    except Exception as error:
        raise _ToolBroke(type(error).__name__) from error


def _program_tool(item: Mapping[str, Any], program: BuiltProgram) -> ObservedTool:
    """Another program as a tool: its spans, usage and cost are those of the execution that calls it."""
    own_adapter = adapter(program.spec.adapter)

    def run(**arguments: Any) -> Any:
        values = program.inputs.validate(arguments)
        with unheard(), dspy.context(adapter=own_adapter):
            return _called(program.module.forward, values).toDict()

    async def arun(**arguments: Any) -> Any:
        values = program.inputs.validate(arguments)
        with unheard(), dspy.context(adapter=own_adapter):
            return (await _awaited(program.module.aforward, values)).toDict()

    schema = program.inputs.json_schema()
    return ObservedTool(
        run,
        arun,
        name=tool_name(item),
        desc=item.get("description") or f"Runs the program {program.spec.name}.",
        args=schema["properties"],
        arg_types={},
    )


def _observed(opened: Span, result: Any) -> str:
    plain = as_plain(result)
    text = plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
    if len(text) > MAX_OBSERVATION:
        text = text[:MAX_OBSERVATION] + " [cut]"
    if recorder := current_recorder():
        recorder.keep(opened, "output", text)
    return text


def _failed(opened: Span, error: Exception) -> str:
    opened.error = str(error) if isinstance(error, _ToolBroke) else type(error).__name__
    return _observed(opened, _complaint(error))


def _complaint(error: Exception) -> str:
    """What the language model is told about a failure."""
    if isinstance(error, _ToolBroke):
        return f"The tool failed ({error})."
    if isinstance(error, Invalid):
        words = "; ".join(f"{problem.field}: {problem.message}" for problem in error.problems)
        return f"The arguments do not fit: {words}"[:MAX_COMPLAINT]
    if isinstance(error, ToolRefusal | ValueError):
        return " ".join(str(error).split())[:MAX_COMPLAINT]
    return f"The arguments do not fit ({type(error).__name__})."
