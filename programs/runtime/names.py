"""Names that fields may not have.

DSPy reads some keyword arguments of a predictor as orders (`config`, `lm`, `demos`, `signature`), adds fields of its
own (`reasoning`, `history`, `tools`) and keeps methods where fields would be looked up (`items`, `inputs`, `copy`).
"""

from __future__ import annotations

import re
from keyword import kwlist

import dspy

from mlops.errors import Problem
from programs.types import FIELD_NAME_PATTERN

PRIVILEGED_NAMES = frozenset({"config", "demos", "lm", "new_signature", "prediction", "signature", "max_iters"})
"""Keyword arguments by which a caller of a DSPy module would take it over."""

_OWN_FIELDS_OF_DSPY = frozenset(
    {
        "augmented",
        "base",
        "completed",
        "fields",
        "history",
        "input_fields",
        "instructions",
        "interpreter_factory",
        "next_thought",
    }
    | {"next_tool_args", "next_tool_name", "output_fields", "reasoning", "termination_reason", "tool_calls", "tools"}
    | {"trajectory"}
)
_ATTRIBUTES_OF_DSPY = frozenset(
    name
    for holder in (dspy.Signature, dspy.Prediction, dspy.Example, type(dspy.Signature))
    for name in dir(holder)
    if not name.startswith("_")
)
RESERVED_NAMES = PRIVILEGED_NAMES | _OWN_FIELDS_OF_DSPY | _ATTRIBUTES_OF_DSPY | frozenset(kwlist)

_FIELD_NAME = re.compile(FIELD_NAME_PATTERN)


def problem_of_name(name: str) -> Problem | None:
    """Why a field may not be called `name`, or None. The problem's field is the name."""
    if not _FIELD_NAME.fullmatch(name):
        message = f"{name[:80]!r} is not a field name: lower-case letters, digits and underscores, a letter first."
        return Problem("bad_field_name", message, name[:80])
    if name in RESERVED_NAMES or name.startswith(("model_", "dspy_")):
        return Problem("reserved_field_name", f"The name {name!r} is reserved.", name)
    return None
