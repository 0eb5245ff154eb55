"""What a document may ask, found out before anything of it runs.

It is parsed under a limit of tokens, validated, then weighed: its depth, its aliases, and its cost, which is the number
of fields that it may resolve with every list counted at the size of its page. To ask for the whole schema costs more
than half of what a document may cost, so nobody asks for it twice at once. Fragments are weighed once and counted
wherever they are spread, so documents whose fragments double each other take no time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.utils.translation import gettext as _
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLList,
    GraphQLNonNull,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    VariableNode,
    get_named_type,
    get_operation_ast,
    parse,
    validate,
)
from graphql.execution.values import get_variable_values
from graphql.language import visit
from graphql.language.visitor import Visitor

from mlops.errors import Invalid
from mlops.graphql.introspection import META_FIELDS, WHOLE, lengths_of
from mlops.graphql.rules import RULES
from mlops.selectors.keysets import MAX_PAGE_SIZE, PAGE_SIZE

MAX_TOKENS = 2_000
MAX_COMMENTS = 200
MAX_DEPTH = 15
MAX_ALIASES = 50
MAX_COST = 20_000
MAX_PROBLEMS = 20
SCHEMA_COST = 12_000
"""What the whole schema is counted as."""

CHILDREN = 20
"""Rows of a page of a list below a row, unless told."""

SHORT_LIST = 20
"""What a list without pages, such as the fields of a signature, is counted as."""


def admitted(
    schema: GraphQLSchema, source: str, variables: Mapping[str, Any], operation: str | None = None
) -> DocumentNode:
    """The document in `source`, if it may run.

    Raises `GraphQLError` (a list of them in `GraphQLErrors`) for what is no valid document, and `Invalid`
    (`graphql_too_deep`, `graphql_too_many_aliases`, `graphql_too_costly`) for what asks too much.
    """
    document = _parsed(source)
    _refuse_many_aliases(document)
    if errors := validate(schema, document, RULES, max_errors=MAX_PROBLEMS):
        raise GraphQLErrors(errors)
    weight = _weight(schema, document, variables, operation)
    if weight.depth > MAX_DEPTH:
        raise Invalid(
            "graphql_too_deep",
            _("The query is %(depth)d levels deep; %(limit)d are allowed.")
            % {"depth": weight.depth, "limit": MAX_DEPTH},
        )
    if weight.cost > MAX_COST:
        raise Invalid(
            "graphql_too_costly",
            _("The query may resolve %(cost)s fields; %(limit)d are allowed. Ask for smaller pages (first:).")
            % {"cost": math.ceil(weight.cost), "limit": MAX_COST},
        )
    return document


class GraphQLErrors(Exception):
    """What is wrong with a document, in the words of the specification."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__(errors[0].message)
        self.errors = errors


def _parsed(source: str) -> DocumentNode:
    try:
        return parse(source, max_lexical_tokens=MAX_TOKENS, max_comments=MAX_COMMENTS)
    except GraphQLError as error:
        raise GraphQLErrors([error]) from None


def _refuse_many_aliases(document: DocumentNode) -> None:
    """Before the document is validated: the time that takes grows with the square of what is alike."""
    counted = _Aliases()
    visit(document, counted)
    if counted.number > MAX_ALIASES:
        raise Invalid(
            "graphql_too_many_aliases",
            _("The query has %(number)d aliases; %(limit)d are allowed.")
            % {"number": counted.number, "limit": MAX_ALIASES},
        )


class _Aliases(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def enter_field(self, node: FieldNode, *_args: Any) -> None:
        self.number += node.alias is not None


@dataclass(frozen=True, slots=True)
class Weight:
    """`depth` in levels of fields, `cost` in fields that may be resolved."""

    depth: int = 0
    cost: float = 0


def _weight(
    schema: GraphQLSchema, document: DocumentNode, variables: Mapping[str, Any], operation: str | None
) -> Weight:
    """Of the operation that is meant; nothing runs where none is. Raises `GraphQLErrors` for its variables."""
    asked = get_operation_ast(document, operation)
    if asked is None:
        return Weight()
    given = get_variable_values(schema, asked.variable_definitions, dict(variables), max_errors=MAX_PROBLEMS)
    if isinstance(given, list):
        raise GraphQLErrors(given)
    return _Scale(schema, document, given, SCHEMA_COST / _cost_of_introspection(schema)).weigh(asked)


@cache
def _cost_of_introspection(schema: GraphQLSchema) -> float:
    """The fields of the whole schema."""
    document = parse(WHOLE)
    asked = get_operation_ast(document)
    assert asked is not None
    return _Scale(schema, document, {}, 1).weigh(asked).cost


class _Scale:
    """Weighs operations of a document. `meta` is what a field of an introspection costs."""

    def __init__(
        self, schema: GraphQLSchema, document: DocumentNode, variables: Mapping[str, Any], meta: float
    ) -> None:
        self._schema = schema
        self._variables = variables
        self._meta = meta
        self._fragments = {
            one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)
        }
        self._weighed: dict[str, Weight] = {}

    def weigh(self, operation: OperationDefinitionNode) -> Weight:
        return self._set(operation.selection_set, self._schema.get_root_type(operation.operation))

    def _set(self, selections: SelectionSetNode | None, parent: Any) -> Weight:
        weights = [self._selection(one, parent) for one in selections.selections] if selections else []
        return Weight(max((one.depth for one in weights), default=0), sum(one.cost for one in weights))

    def _selection(self, node: SelectionNode, parent: Any) -> Weight:
        if isinstance(node, FieldNode):
            return self._field(node, parent)
        if isinstance(node, InlineFragmentNode):
            named = node.type_condition and self._schema.get_type(node.type_condition.name.value)
            return self._set(node.selection_set, named or parent)
        assert isinstance(node, FragmentSpreadNode)
        return self._fragment(node.name.value)

    def _fragment(self, name: str) -> Weight:
        if name not in self._weighed:
            fragment = self._fragments[name]
            on = self._schema.get_type(fragment.type_condition.name.value)
            self._weighed[name] = self._set(fragment.selection_set, on)
        return self._weighed[name]

    def _field(self, node: FieldNode, parent: Any) -> Weight:
        meta = META_FIELDS.get(node.name.value)
        field = meta or parent.fields[node.name.value]
        below = self._set(node.selection_set, get_named_type(field.type))
        if meta:
            return Weight(1, 1 + self._meta * below.cost)  # its depth has a rule of its own
        return Weight(1 + below.depth, 1 + self._times(node, field, parent) * below.cost)

    def _times(self, node: FieldNode, field: Any, parent: Any) -> float:
        """How often what is below a field may be resolved."""
        if parent.name.startswith("__"):
            return lengths_of(self._schema).get(node.name.value, 1)
        if "first" in field.args:
            return self._page(node, PAGE_SIZE if parent is self._schema.query_type else CHILDREN)
        is_list = isinstance(field.type.of_type if isinstance(field.type, GraphQLNonNull) else field.type, GraphQLList)
        return SHORT_LIST if is_list and get_named_type(field.type).name[-4:] != "Edge" else 1

    def _page(self, node: FieldNode, default: int) -> int:
        given = next((one.value for one in node.arguments or () if one.name.value == "first"), None)
        size = default
        if isinstance(given, IntValueNode):
            size = int(given.value)
        elif isinstance(given, VariableNode):
            size = self._variables.get(given.name.value) or default
        return min(size, MAX_PAGE_SIZE) if size > 0 else default
