"""Rules of a valid document where those of graphql-core break down on a bad one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.utils.text import Truncator
from django.utils.translation import gettext as _
from graphql import (
    ASTValidationRule,
    FieldNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    ValidationRule,
    ValueNode,
    specified_rules,
)
from graphql.validation import SingleFieldSubscriptionsRule, ValuesOfCorrectTypeRule
from graphql.validation.rules.max_introspection_depth_rule import MaxIntrospectionDepthRule

MAX_MESSAGE = 300
"""Characters of what is said of a literal, which it repeats."""


class LiteralsRule(ValuesOfCorrectTypeRule):
    """A literal that its scalar cannot read is a fault of the document, at its place, whatever the scalar raises."""

    _literal: ValueNode | None = None

    def is_valid_value_node(self, node: ValueNode) -> None:
        self._literal = node
        super().is_valid_value_node(node)

    def report_error(self, error: GraphQLError) -> None:
        message = error.message.removesuffix(f"; {error.original_error}")
        told = Truncator(message).chars(MAX_MESSAGE)
        super().report_error(GraphQLError(told, error.nodes or self._literal, extensions=error.extensions))


class OneRootFieldRule(ValidationRule):
    """A subscription asks for one field, and not for the schema.

    What `@skip` and `@include` come to is known with the variables only, so every field counts.
    """

    def enter_operation_definition(self, node: OperationDefinitionNode, *_args: Any) -> None:
        if node.operation is not OperationType.SUBSCRIPTION:
            return
        fields = list(self._fields(node.selection_set, set()))
        names = {(field.alias or field.name).value for field in fields}
        if len(names) > 1 or any(field.name.value.startswith("__") for field in fields):
            self.report_error(GraphQLError(_("A subscription asks for one field of the schema's."), fields))

    def _fields(self, selections: SelectionSetNode, spread: set[str]) -> Iterator[FieldNode]:
        """Those of an operation itself; `spread` are the fragments that have been looked into."""
        for one in selections.selections:
            if isinstance(one, FieldNode):
                yield one
            elif isinstance(one, InlineFragmentNode):
                yield from self._fields(one.selection_set, spread)
            elif isinstance(one, FragmentSpreadNode) and one.name.value not in spread:
                spread.add(one.name.value)
                fragment = self.context.get_fragment(one.name.value)
                yield from self._fields(fragment.selection_set, spread) if fragment else ()


_INSTEAD: dict[Any, Any] = {
    ValuesOfCorrectTypeRule: LiteralsRule,
    SingleFieldSubscriptionsRule: OneRootFieldRule,
}
_THEIRS = dict.fromkeys((*specified_rules, MaxIntrospectionDepthRule))

RULES: tuple[type[ASTValidationRule], ...] = tuple(_INSTEAD.get(rule, rule) for rule in _THEIRS)
