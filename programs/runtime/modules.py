"""The DSPy module of a whole program: its nodes in the order of the graph, each in its own span.

Children are attributes `m_<key>`, so that DSPy's optimizers find their predictors by name. An instance holds nothing of
a run and is shared by concurrent executions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import dspy

from mlops.runtime.listening import turn
from mlops.runtime.recorder import Span, current_recorder, span
from mlops.types import SpanKind
from programs.runtime.checks import InputCheck, OutputCheck
from programs.runtime.graph import Node, ProgramGraph
from programs.types import ModuleKind

CHILD_PREFIX = "m_"
REPLACED = "unstorable_replaced"
"""Attribute of a module's span whose output had characters that no database keeps."""

ANSWERING = frozenset({ModuleKind.PREDICT, ModuleKind.CHAIN_OF_THOUGHT})
"""Kinds whose outputs are one answer of a language model, told while it comes."""

_MODELS_SETTING = "signet_language_models"


class ModuleFailed(Exception):
    """A module of a program failed; `__cause__` says why."""

    def __init__(self, module: str) -> None:
        super().__init__(f"The module {module} failed.")
        self.module = module


class MissingLanguageModel(LookupError):
    """A module names a language model that the run did not bring."""


def using_language_models(models: Mapping[str, dspy.LM]) -> AbstractContextManager[None]:
    """Within this context modules that name a language model find it by id.

    Kept in DSPy's settings, because those reach the worker threads of its optimizers and context variables do not.
    """
    found: AbstractContextManager[None] = dspy.context(**{_MODELS_SETTING: models})
    return found


class ProgramModule(dspy.Module):  # type: ignore[misc]  # DSPy is untyped
    """A program as DSPy sees it: takes the program's inputs, gives its outputs as plain JSON values."""

    def __init__(self, graph: ProgramGraph, children: Mapping[str, dspy.Module]) -> None:
        super().__init__()
        self.plan = _Plan(graph)
        for key, child in children.items():
            setattr(self, CHILD_PREFIX + key, child)

    def child(self, key: str) -> dspy.Module:
        """The DSPy module behind the module `key`."""
        return getattr(self, CHILD_PREFIX + key)

    def forward(self, **values: Any) -> dspy.Prediction:
        """Run the nodes one after the other."""
        given = self.plan.inputs.completed(values)
        results: dict[str, dict[str, Any]] = {"": given}
        for step in self.plan.steps:
            with step.open(results) as running:
                running.prediction = self.child(step.key)(**running.inputs)
        return self.plan.prediction(results)

    async def aforward(self, **values: Any) -> dspy.Prediction:
        """Run the nodes, independent ones concurrently."""
        results: dict[str, dict[str, Any]] = {"": self.plan.inputs.completed(values)}
        if self.plan.is_chain:
            for step in self.plan.steps:
                await self._arun(step, results)
        else:
            await self._arun_concurrently(results)
        return self.plan.prediction(results)

    async def _arun(self, step: _Step, results: dict[str, dict[str, Any]]) -> None:
        with step.open(results) as running:
            running.prediction = await self.child(step.key).acall(**running.inputs)

    async def _arun_concurrently(self, results: dict[str, dict[str, Any]]) -> None:
        tasks: dict[str, asyncio.Task[None]] = {}

        async def after_its_needs(step: _Step) -> None:
            for key in step.node.needs:
                await tasks[key]
            await self._arun(step, results)

        try:
            async with asyncio.TaskGroup() as group:
                for step in self.plan.steps:
                    tasks[step.key] = group.create_task(after_its_needs(step))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from failures.exceptions[0].__cause__


class _Plan:
    """What does not change between runs. Shared by copies of a module, so DSPy's optimizers copy only predictors."""

    def __init__(self, graph: ProgramGraph) -> None:
        self.inputs = InputCheck(graph.inputs)
        self.steps = tuple(_Step(node, OutputCheck(node.outputs)) for node in graph.nodes)
        self.is_chain = graph.is_chain
        self._outputs = tuple((output.field.name, output.source) for output in graph.outputs)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Plan:
        return self

    def prediction(self, results: Mapping[str, Mapping[str, Any]]) -> dspy.Prediction:
        return dspy.Prediction(**{name: results[source.module][source.field] for name, source in self._outputs})


@dataclass(slots=True)
class _Running:
    """One node in one run."""

    inputs: dict[str, Any]
    prediction: Any = None


class _Step:
    """A node with its compiled check of outputs."""

    def __init__(self, node: Node, check: OutputCheck) -> None:
        self.node = node
        self.key = node.key
        self._check = check
        self._language_model = node.module.language_model
        self._is_answering = node.module.kind in ANSWERING
        self._bindings = tuple((name, source.module, source.field) for name, source in node.bindings.items())
        self._outputs = tuple(item.name for item in node.outputs)

    @contextmanager
    def open(self, results: dict[str, dict[str, Any]]) -> Iterator[_Running]:
        """Open the span, give the inputs, and after the block check the prediction and put it into `results`."""
        inputs = self._inputs(results)
        with (
            span(SpanKind.MODULE, self.key, module=self.key, input=inputs) as opened,
            turn(self.key, self._outputs, is_heard=self._is_answering) as told,
        ):
            try:
                running = _Running(inputs)
                with self._context():
                    yield running
                outputs, replaced = self._check.validate(self._given(running.prediction))
            except Exception as error:
                opened.error = type(error).__name__
                raise ModuleFailed(self.key) from error
            _note(opened, outputs, replaced)
            if told is not None:
                told.end(outputs)
        results[self.key] = outputs

    def _inputs(self, results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        found = {name: results[module].get(field) for name, module, field in self._bindings}
        return {name: value for name, value in found.items() if value is not None}

    def _given(self, prediction: Any) -> dict[str, Any]:
        if not isinstance(prediction, Mapping | dspy.Prediction):
            raise TypeError(f"{type(prediction).__name__} is not a prediction.")
        return {name: prediction[name] for name in self._outputs if name in prediction}

    def _context(self) -> AbstractContextManager[Any]:
        if self._language_model is None:
            return nullcontext()
        models = dspy.settings.get(_MODELS_SETTING, {})
        if self._language_model not in models:
            raise MissingLanguageModel(f"The language model {self._language_model} was not brought to this run.")
        context: AbstractContextManager[Any] = dspy.context(lm=models[self._language_model])
        return context


def _note(opened: Span, outputs: dict[str, Any], replaced: bool) -> None:
    if recorder := current_recorder():
        recorder.keep(opened, "output", outputs)
    if replaced:
        opened.attributes[REPLACED] = True
