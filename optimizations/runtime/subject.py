"""The copy of a program that an optimizer works on, and what it has learned."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import dspy

from mlops.sanitiser import is_plain_storable, replace_unstorable
from optimizations.runtime.origins import Origins
from optimizations.types import EXAMPLE_MARK, CandidateState
from programs.runtime.built import BuiltProgram
from programs.runtime.modules import ProgramModule
from programs.runtime.prompts import prompts_of
from programs.types import PREDICTING_KINDS, ModuleKind, ModuleSpec, ProgramSpec, PromptSpec

_MARKS = frozenset({"augmented", EXAMPLE_MARK})
"""Keys of a demo that are no fields."""


class Subject(ProgramModule):
    """A program in the hands of an optimizer."""

    watch: Watch

    def forward(self, **values: Any) -> dspy.Prediction:
        """Run the program. Callbacks are for evaluations as a whole and would cost more than all else in here."""
        outer = dspy.settings.trace
        with dspy.context(trace=[], callbacks=[]):
            try:
                return super().forward(**values)
            finally:
                self.watch.ran(self, values, dspy.settings.trace, outer)

    def set_lm(self, lm: dspy.LM) -> None:
        """Give every module without a language model of its own this one."""
        for key in self.watch.keys_without_model:
            self.child(key).set_lm(lm)


class Watch:
    """What a subject and all of its copies report to.

    `nobodys_trace` is the trace of the whole compile: nobody reads it, and it would hold every run there ever was.
    """

    def __init__(self, origins: Origins, keys_without_model: tuple[str, ...]) -> None:
        self.origins = origins
        self.keys_without_model = keys_without_model
        self.nobodys_trace: list[Any] | None = None
        self._here = threading.local()

    @property
    def last_ran(self) -> Subject | None:
        """The copy that this thread ran last."""
        return getattr(self._here, "subject", None)

    def __deepcopy__(self, memo: dict[int, Any]) -> Watch:
        return self

    def ran(self, subject: Subject, values: Mapping[str, Any], steps: list[Any], outer: list[Any] | None) -> None:
        """A run is over, well or not."""
        self._here.subject = subject
        self.origins.note(values, steps)
        if outer is not None and outer is not self.nobodys_trace:
            outer.extend(steps)


def subject_of(program: BuiltProgram, watch: Watch) -> Subject:
    """A copy that shares nothing with `program` that an optimizer changes.

    Signature classes are new too: some optimizers edit those in place. Modules whose state no prompt version could hold
    are hidden from the optimizer.
    """
    children = {module.key: program.module.child(module.key).deepcopy() for module in program.spec.modules}
    for module in program.spec.modules:
        if module.kind not in PREDICTING_KINDS:
            children[module.key]._compiled = True
    subject = Subject(program.graph, children)
    subject.watch = watch
    for predictor in subject.predictors():
        predictor.signature = predictor.signature.with_instructions(predictor.signature.instructions)
    return subject


def watch_of(program: BuiltProgram, origins: Origins) -> Watch:
    """The watch over a subject of `program`."""
    return Watch(origins, tuple(module.key for module in program.spec.modules if not module.language_model))


def state_of(spec: ProgramSpec, subject: ProgramModule, origins: Origins) -> CandidateState:
    """What a candidate has learned, as prompt versions keep it."""
    prompts = {key: _storable(prompt) for key, prompt in prompts_of(spec, subject).items()}
    modules = {module.key: module for module in spec.modules}
    return CandidateState(
        {
            key: PromptSpec(
                prompt.instructions,
                tuple(
                    kept
                    for demo in prompt.demos
                    if (kept := _projected(origins.marked(demo), modules[key], subject.child(key)))
                ),
            )
            for key, prompt in prompts.items()
        }
    )


def _storable(prompt: PromptSpec) -> PromptSpec:
    """Models say things that no database keeps, escaped in JSON for instance."""
    if is_plain_storable([prompt.instructions, prompt.demos]):
        return prompt
    (instructions, demos), _is_changed = replace_unstorable([prompt.instructions, list(prompt.demos)])
    return PromptSpec(instructions, tuple(demos))


def _projected(demo: dict[str, Any], module: ModuleSpec, child: dspy.Module) -> dict[str, Any]:
    """The part of a demo that the module's prompt shows, with its marks; empty when it shows nothing of it.

    Some optimizers give every module whole examples of the program. The steps of an agent stand in fields of their own.
    """
    if module.kind is ModuleKind.REACT:
        return demo
    signature = child.predictors()[0].signature
    if not (demo.keys() & signature.input_fields.keys() and demo.keys() & signature.output_fields.keys()):
        return {}
    return {name: value for name, value in demo.items() if name in signature.fields or name in _MARKS}
