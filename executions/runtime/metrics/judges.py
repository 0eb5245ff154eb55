"""A program of this installation as a judge, in both worlds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from executions.runtime.failures import error_of
from executions.runtime.metrics.failures import MetricFailed
from executions.runtime.run import DEFAULT_MODEL, LanguageModelOf, run
from executions.types import RunError
from mlops.errors import Invalid
from mlops.runtime.adapters import adapter
from mlops.runtime.context import execution_context
from mlops.runtime.engines import language_model
from mlops.runtime.recorder import Recorder, current_recorder, recording
from mlops.sanitiser import hide
from mlops.types import LanguageModelSpec
from programs.runtime.built import BuiltProgram
from programs.runtime.modules import using_language_models
from programs.types import FieldSpec


@dataclass(frozen=True, slots=True, eq=False)
class JudgeProgram:
    """Fills the port `Judge` with a built program.

    Its calls are metered by the recorder that is open where it is asked. `language_model_of` makes its language models:
    an optimizer brings its own, so that its guard counts the judge's calls too. The judge runs in a DSPy context of its
    own in either world: it must not leave its steps in the trace from which an optimizer takes demos.
    """

    program: BuiltProgram
    models: Mapping[str, LanguageModelSpec]
    deadline_s: float
    language_model_of: LanguageModelOf = language_model

    @property
    def inputs(self) -> Sequence[FieldSpec]:
        return self.program.graph.inputs

    @property
    def outputs(self) -> Sequence[FieldSpec]:
        return [output.field for output in self.program.graph.outputs]

    def ask(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """In a thread, without a deadline of its own: each call of a model has one."""
        checked = self._checked(values)
        with _open_recorder() as recorder:
            try:
                with self._context():
                    prediction: Mapping[str, Any] = self.program.module.forward(**checked).toDict()
            except Exception as error:
                told = error_of(error)
                raise _failed(replace(told, message=hide(told.message, recorder.repeated_secrets))) from error
            return {name: hide(value, recorder.repeated_secrets) for name, value in prediction.items()}

    async def aask(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        result = await run(
            self.program,
            self._checked(values),
            models=self.models,
            deadline_s=self.deadline_s,
            recorder=current_recorder(),
            language_model_of=self.language_model_of,
        )
        if result.error is not None or result.output is None:
            raise _failed(result.error)
        return result.output

    def _checked(self, values: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return self.program.inputs.validate(values)
        except Invalid as refusal:
            raise _failed(error_of(refusal)) from refusal

    def _context(self) -> AbstractContextManager[Any]:
        named = self.program.language_models & self.models.keys()
        stack = ExitStack()
        default = self.language_model_of(self.models[DEFAULT_MODEL])
        stack.enter_context(execution_context(default, adapter(self.program.spec.adapter)))
        stack.enter_context(using_language_models({name: self.language_model_of(self.models[name]) for name in named}))
        return stack


@contextmanager
def _open_recorder() -> Iterator[Recorder]:
    """The recorder that is open, else one that knows which secrets were repeated and is thrown away."""
    recorder = current_recorder()
    if recorder is not None:
        yield recorder
        return
    with recording(Recorder()) as own:
        yield own


def _failed(error: RunError | None) -> MetricFailed:
    if error is None:
        return MetricFailed("The judge gave no answer.")
    return MetricFailed(f"The judge failed: {error.message} ({error.code})")
