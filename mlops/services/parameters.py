"""Parameters of a model call that may be stored: known names only, so that nobody parks a secret there."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from mlops.errors import Invalid, Problem, all_of

NUMBER = (int, float)
PARAMETERS: dict[str, tuple[type, ...]] = {
    "temperature": NUMBER,
    "top_p": NUMBER,
    "top_k": (int,),
    "max_tokens": (int,),
    "max_completion_tokens": (int,),
    "presence_penalty": NUMBER,
    "frequency_penalty": NUMBER,
    "seed": (int,),
    "dimensions": (int,),
    "stop": (str, list),
    "reasoning_effort": (str,),
    "verbosity": (str,),
    "service_tier": (str,),
}


def refuse_bad_parameters(parameters: Any, field: str = "parameters") -> None:
    """Raise `Invalid` (`parameters_invalid`, `parameter_unknown`, `parameter_type`) naming every wrong parameter."""
    if not isinstance(parameters, dict):
        raise Invalid("parameters_invalid", _("Parameters are an object."), field=field)
    problems = [
        problem for name, value in parameters.items() if (problem := _problem_of(name, value, f"{field}.{name}"))
    ]
    if problems:
        raise all_of(problems, code=problems[0].code, message=problems[0].message)


def _problem_of(name: str, value: Any, path: str) -> Problem | None:
    if name not in PARAMETERS:
        return Problem("parameter_unknown", _("There is no such parameter of a model call."), path)
    if isinstance(value, bool) or not isinstance(value, PARAMETERS[name]):
        return Problem("parameter_type", _("The parameter is of another type."), path)
    if isinstance(value, list) and not all(isinstance(item, str) for item in value):
        return Problem("parameter_type", _("Expected a list of strings."), path)
    return None
