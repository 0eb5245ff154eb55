"""One run of a program: everything that happens between a validated input and a result that can be stored."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import dspy

from executions.runtime.failures import deadline_error, error_of
from executions.types import RunError, RunResult
from mlops.runtime.adapters import adapter
from mlops.runtime.context import execution_context
from mlops.runtime.engines import language_model
from mlops.runtime.listening import Listener, listening
from mlops.runtime.recorder import Recorder, recording
from mlops.sanitiser import hide, is_plain_storable, replace_unstorable
from mlops.types import LanguageModelSpec
from programs.runtime.built import BuiltProgram
from programs.runtime.modules import REPLACED, using_language_models

DEFAULT_MODEL = ""
"""The key in `models` of the language model that modules without their own use."""

HELD_BACK = "secret_hidden"
"""The flag of an execution in whose answer the provider repeated a secret of ours; it was taken out."""

LanguageModelOf = Callable[[LanguageModelSpec], dspy.LM]


async def run(
    program: BuiltProgram,
    values: Mapping[str, Any],
    *,
    models: Mapping[str, LanguageModelSpec],
    deadline_s: float,
    recorder: Recorder | None = None,
    listener: Listener | None = None,
    language_model_of: LanguageModelOf = language_model,
) -> RunResult:
    """Run `program` on `values`, which its input check has passed; what goes wrong is in the result's error.

    `models` holds the default under "" and every id of `program.language_models`. `listener` hears modules begin and
    end, and the texts of their outputs while these come. Raises only what ends the task (CancelledError): what was used
    until then is in the `recorder` that the caller passed, see `partial_result`.
    """
    recorder = recorder or Recorder()
    began = time.perf_counter()
    attempt = _Attempt(program, values, models, language_model_of)
    output, error = None, None
    try:
        async with asyncio.timeout(deadline_s) as deadline:
            with recording(recorder), listening(listener):
                output = await attempt.output()
    except TimeoutError as failure:
        error = deadline_error(deadline_s) if deadline.expired() else error_of(failure)
    except Exception as failure:
        error = error_of(failure)
    return _result(recorder, output, error, (time.perf_counter() - began) * 1e3)


def partial_result(recorder: Recorder, error: RunError) -> RunResult:
    """The result of a run that was cancelled: what it used and did until then."""
    return _result(recorder, None, error, recorder.now_ms())


@dataclass(frozen=True, slots=True)
class _Attempt:
    program: BuiltProgram
    values: Mapping[str, Any]
    models: Mapping[str, LanguageModelSpec]
    language_model_of: LanguageModelOf

    async def output(self) -> dict[str, Any]:
        values = self.program.inputs.completed(self.values)
        default = self.language_model_of(self.models[DEFAULT_MODEL])
        with execution_context(default, adapter(self.program.spec.adapter)):
            if not self.program.language_models:
                return await self._predicted(values)
            with using_language_models(self._named_models()):
                return await self._predicted(values)

    async def _predicted(self, values: Mapping[str, Any]) -> dict[str, Any]:
        # Past the wrapper of `acall`: the context above has no callbacks and tracks no usage.
        prediction = await self.program.module.aforward(**values)
        output: dict[str, Any] = prediction.toDict()
        return output

    def _named_models(self) -> dict[str, dspy.LM]:
        named = self.program.language_models & self.models.keys()
        return {name: self.language_model_of(self.models[name]) for name in named}


def _result(
    recorder: Recorder, output: Mapping[str, Any] | None, error: RunError | None, duration_ms: float
) -> RunResult:
    trace, replaced = recorder.trace(), False
    if not is_plain_storable(trace):
        trace, replaced = replace_unstorable(trace)
    replaced = replaced or any(REPLACED in step.attributes for step in recorder.spans)
    flags: tuple[str, ...] = (REPLACED,) if replaced else ()
    if secrets := recorder.repeated_secrets:
        trace, output = hide(trace, secrets), hide(output, secrets)
        error = error and replace(error, message=hide(error.message, secrets))
        flags += (HELD_BACK,)
    return RunResult(
        output=output,
        error=error,
        trace=trace,
        usage=recorder.usage,
        by_model=dict(recorder.by_model),
        cost=recorder.cost,
        known_costs=dict(recorder.known_costs),
        unpriced=frozenset(recorder.unpriced),
        prices=tuple(recorder.prices),
        models=dict(recorder.models),
        duration_ms=duration_ms,
        waited_ms=recorder.waited_s * 1e3,
        flags=flags,
    )
