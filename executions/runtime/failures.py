"""Why a run failed, in words that may be shown."""

from __future__ import annotations

import re

import dspy

from executions.types import RunError
from mlops.errors import DomainError
from mlops.runtime.engines import failure_of
from mlops.sanitiser import replace_unstorable
from mlops.types import ModelErrorCode
from programs.runtime.agents import NoAnswer
from programs.runtime.checks import InvalidOutput
from programs.runtime.modules import MissingLanguageModel, ModuleFailed

_UNFIT = re.compile(r"\AFailed to parse field (\w+)(?: with value|:)")

UNPARSABLE = ModelErrorCode.UNPARSABLE_OUTPUT.value


def deadline_error(deadline_s: float) -> RunError:
    """The error of a run that was stopped at its deadline."""
    return RunError(ModelErrorCode.TIMEOUT.value, f"The deadline of {deadline_s:g} s has passed.")


def error_of(error: BaseException) -> RunError:
    """The error of a run that raised `error`, with the module that failed."""
    module, cause = "", error
    while isinstance(cause, ModuleFailed) and cause.__cause__ is not None:
        module, cause = cause.module, cause.__cause__
    code, message = _told(cause)
    storable, _is_changed = replace_unstorable(message)  # it may hold the words of a provider
    return RunError(code, storable, module)


def _told(error: BaseException) -> tuple[str, str]:
    if isinstance(error, DomainError):
        return error.code, _listed(error)
    if isinstance(error, InvalidOutput):
        fields = "; ".join(f"{problem.field}: {problem.message}" for problem in error.problems)
        return UNPARSABLE, f"The output does not fit: {fields}"
    if isinstance(error, dspy.AdapterParseError):
        return UNPARSABLE, _unread(_first(error))
    if isinstance(error, NoAnswer):
        return UNPARSABLE, str(error)
    if isinstance(error, MissingLanguageModel):
        return ModelErrorCode.INVALID_REQUEST.value, str(error)
    failure = failure_of(error)
    return failure.code.value, failure.message


def _listed(error: DomainError) -> str:
    return "; ".join(f"{one.field}: {one.message}" if one.field else one.message for one in error.problems)


def _first(error: dspy.AdapterParseError) -> dspy.AdapterParseError:
    """The first answer's error: when the chat adapter fails, DSPy asks once more for JSON and reports that failure."""
    while isinstance(error.__context__, dspy.AdapterParseError):
        error = error.__context__
    return error


def _unread(error: dspy.AdapterParseError) -> str:
    """Which fields could not be read. What the model said is in the trace; it does not belong into an error."""
    expected = list(error.signature.output_fields)
    if (unfit := _UNFIT.search(str(error))) and unfit[1] in expected:
        return f"The model's answer has no usable value for the field {unfit[1]}."
    found = error.parsed_result if isinstance(error.parsed_result, dict) else {}
    missing = [name for name in expected if name not in found] or expected
    return f"The model's answer lacks fields: {', '.join(missing)}."
