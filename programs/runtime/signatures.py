"""Signatures: rows become DSPy's classes, built from fields and never from text."""

from __future__ import annotations

import json
from typing import Any

import dspy
from pydantic import TypeAdapter

from mlops.errors import Problem
from mlops.sanitiser import problem_in
from programs.runtime.field_types import problems_of_field, value_type
from programs.types import FieldSpec, SignatureSpec

MAX_FIELDS = 60
MAX_INSTRUCTIONS = 50_000


def problems_of_signature(signature: SignatureSpec) -> tuple[Problem, ...]:
    """Everything that is wrong with a signature; paths begin with a field's name, or are `fields`, `instructions`."""
    problems = [problem for field in signature.fields for problem in problems_of_field(field)]
    names = [field.name for field in signature.fields]
    problems += [
        Problem("duplicate_field", f"The field {name!r} is there twice.", name)
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    if not signature.inputs:
        problems.append(Problem("missing_inputs", "A signature needs an input.", "fields"))
    if not signature.outputs:
        problems.append(Problem("missing_outputs", "A signature needs an output.", "fields"))
    if len(names) > MAX_FIELDS:
        problems.append(Problem("too_many_fields", f"More than {MAX_FIELDS} fields.", "fields"))
    return (*problems, *problems_of_instructions(signature.instructions))


def problems_of_instructions(instructions: str, path: str = "instructions") -> tuple[Problem, ...]:
    """Why these instructions cannot be kept."""
    if len(instructions) > MAX_INSTRUCTIONS:
        return (Problem("too_long", f"Longer than {MAX_INSTRUCTIONS} characters.", path),)
    found = problem_in(instructions, path)
    return (found,) if found else ()


def build_signature(signature: SignatureSpec, instructions: str = "") -> type[dspy.Signature]:
    """DSPy's class for `signature`; `instructions`, when given, stand in for its own.

    Expects a signature without problems.
    """
    fields = {field.name: (_annotation(field), _field_info(field)) for field in signature.fields}
    words = instructions or signature.instructions or None
    name = "".join(part.title() for part in signature.name.replace("-", "_").split("_"))
    built: type[dspy.Signature] = dspy.Signature(fields, words, signature_name=name or "Unnamed")
    return built


def _annotation(field: FieldSpec) -> Any:
    return value_type(field) if field.required or field.has_default else value_type(field) | None


def _field_info(field: FieldSpec) -> Any:
    details: dict[str, Any] = {"desc": _description(field)} if _description(field) else {}
    if not field.is_list:
        details |= {name: value for name, value in field.constraints.items() if name != "pattern"}
    if field.has_default and field.default is not None:
        details["default"] = TypeAdapter(value_type(field)).validate_json(json.dumps(field.default))
    elif not field.required:
        details["default"] = None
    return dspy.InputField(**details) if field.is_input else dspy.OutputField(**details)


def _description(field: FieldSpec) -> str:
    """The description, with the constraints that DSPy itself would not tell the language model."""
    told = [field.description] if field.description else []
    if pattern := field.constraints.get("pattern"):
        told.append(f"Matches the regular expression {pattern}")
    if field.is_list:
        told += [f"{name.replace('_', ' ')}: {value}" for name, value in field.constraints.items() if name != "pattern"]
    return "; ".join(told)
