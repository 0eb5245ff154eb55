"""Whether one field's values may feed another field."""

from __future__ import annotations

from dataclasses import replace

from programs.types import FieldSpec, FieldType

_WIDER = {(FieldType.INTEGER, FieldType.NUMBER), (FieldType.ENUM, FieldType.STRING), (FieldType.DATE, FieldType.STRING)}


def accepts(target: FieldSpec, source: FieldSpec) -> bool:
    """Whether every value of `source` is a value of `target`, apart from constraints."""
    return why_not(target, source) == ""


def why_not(target: FieldSpec, source: FieldSpec) -> str:
    """Why `source` cannot feed `target`, or nothing."""
    if target.is_list != source.is_list or not _fits(target, source):
        return f"{source.type_label} is not {target.type_label}."
    may_be_missing = not source.required and not source.has_default
    if may_be_missing and target.required and not target.has_default:
        return "it may be missing, and the input is required."
    return ""


def _fits(target: FieldSpec, source: FieldSpec) -> bool:
    if (source.type, target.type) in _WIDER:
        return True
    if source.type is not target.type:
        return False
    if target.type is FieldType.ENUM:
        return set(source.choices) <= set(target.choices)
    return not target.schema or target.schema == source.schema


def merged(first: FieldSpec, second: FieldSpec) -> FieldSpec | None:
    """One program input for two module inputs of the same name, or None when their types or constraints differ."""
    if _shape(first) != _shape(second):
        return None
    common = first.constraints.keys() & second.constraints.keys()
    if any(first.constraints[name] != second.constraints[name] for name in common):
        return None
    required = any(item.required and not item.has_default for item in (first, second))
    defaulted = next((item for item in (first, second) if item.has_default and not required), None)
    return replace(
        first,
        description=first.description or second.description,
        constraints={**first.constraints, **second.constraints},
        required=required,
        has_default=defaulted is not None,
        default=defaulted.default if defaulted else None,
    )


def _shape(item: FieldSpec) -> tuple[object, ...]:
    return item.type, item.is_list, item.choices, item.schema or None
