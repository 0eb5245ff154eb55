"""Scalars, and how the columns of rows become fields. They look as they do over REST."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import graphene
from django.db import models
from graphene_django.converter import convert_django_field
from graphql import GraphQLError, ValueNode
from graphql.language import (
    BooleanValueNode,
    EnumValueNode,
    FloatValueNode,
    IntValueNode,
    ListValueNode,
    NullValueNode,
    ObjectValueNode,
    StringValueNode,
    VariableNode,
)

from mlops.errors import Invalid
from mlops.graphql.peers import column_of
from mlops.money import as_decimal, from_decimal
from mlops.sanitiser import MAX_DEPTH, refuse_unstorable


class JSON(graphene.Scalar):  # type: ignore[misc]  # graphene has no types
    """Any JSON value, as itself and not in a string."""

    @staticmethod
    def serialize(value: Any) -> Any:
        return value

    @staticmethod
    def parse_value(value: Any) -> Any:
        try:
            refuse_unstorable(value)
        except Invalid as error:
            raise GraphQLError(f"{error.field}: {error.message}", extensions={"code": error.code}) from None
        return value

    @classmethod
    def parse_literal(cls, node: ValueNode, variables: dict[str, Any] | None = None) -> Any:
        return cls.parse_value(_literal(node, variables or {}, 0))


_VALUES: dict[type[Any], Callable[[Any], Any]] = {
    NullValueNode: lambda node: None,
    IntValueNode: lambda node: int(node.value),
    FloatValueNode: lambda node: float(node.value),
    BooleanValueNode: lambda node: node.value,
    StringValueNode: lambda node: node.value,
    EnumValueNode: lambda node: node.value,
}


class JSONObject(JSON):
    """A JSON object, as itself and not in a string."""

    @staticmethod
    def parse_value(value: Any) -> Any:
        if not isinstance(value, dict):
            raise GraphQLError("Expected an object.", extensions={"code": "not_an_object"})
        return JSON.parse_value(value)


def _literal(node: Any, variables: dict[str, Any], depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise GraphQLError(f"Nested deeper than {MAX_DEPTH} levels.", extensions={"code": "too_deep"})
    if isinstance(node, ObjectValueNode):
        return {field.name.value: _literal(field.value, variables, depth + 1) for field in node.fields}
    if isinstance(node, ListValueNode):
        return [_literal(item, variables, depth + 1) for item in node.values]
    if isinstance(node, VariableNode):
        return variables.get(node.name.value)
    return _VALUES[type(node)](node)


class Decimal(graphene.Scalar):  # type: ignore[misc]  # graphene has no types
    """A decimal string such as "1.25": money, which no float keeps."""

    serialize = str

    @staticmethod
    def parse_value(value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise GraphQLError('Not a decimal string such as "1.25".', extensions={"code": "decimal_invalid"})
        return str(value)

    @classmethod
    def parse_literal(cls, node: Any, variables: dict[str, Any] | None = None) -> str:
        return cls.parse_value(getattr(node, "value", None))


class Long(graphene.Scalar):  # type: ignore[misc]  # graphene has no types
    """A whole number of up to 64 bits."""

    serialize = int

    @staticmethod
    def parse_value(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
            raise GraphQLError("Not a whole number of 64 bits.", extensions={"code": "invalid"})
        return value

    @classmethod
    def parse_literal(cls, node: Any, variables: dict[str, Any] | None = None) -> int:
        return cls.parse_value(int(node.value) if isinstance(node, IntValueNode) else None)


class Money(graphene.Field):  # type: ignore[misc]  # graphene has no types
    """A column of whole 1/`scale` units as a decimal string; null where it is unknown."""

    def __init__(self, column: str, scale: int, **options: Any) -> None:
        def resolve(row: Any, info: Any) -> str | None:
            amount = getattr(row, column)
            return None if amount is None else as_decimal(amount, scale)

        super().__init__(Decimal, resolver=resolve, **options)


def units_of(amount: str | None, scale: int, field: str) -> int | None:
    """A `Decimal` that was sent, in whole 1/`scale` units. Raises `Invalid` (`decimal_invalid`)."""
    return None if amount is None else from_decimal(amount, scale, field=field)


class Heavy(graphene.Field):  # type: ignore[misc]  # graphene has no types
    """A column that lists read only where somebody asks for it, and then for all their rows at once."""

    def __init__(self, type_: Any, column: str, **options: Any) -> None:
        super().__init__(type_, resolver=lambda row, info: column_of(row, column), **options)


@convert_django_field.register(models.JSONField)  # type: ignore[untyped-decorator]  # graphene has no types
def _json(field: Any, registry: Any = None) -> Any:
    return JSON(description=str(field.help_text or "") or None, required=not field.null)


@convert_django_field.register(models.BigIntegerField)  # type: ignore[untyped-decorator]  # graphene has no types
@convert_django_field.register(models.PositiveBigIntegerField)  # type: ignore[untyped-decorator]  # graphene has no types
def _long(field: Any, registry: Any = None) -> Any:
    return Long(description=str(field.help_text or "") or None, required=not field.null)
