"""What a document may ask, found out before anything of it runs.

It is parsed under a limit of tokens, validated, then weighed: its depth, its aliases, and its cost, which is the number
of fields that it may resolve with every list counted at the size of its page. Fragments are weighed once and counted
wherever they are spread, so documents whose fragments double each other take no time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
    parse,
    validate,
)
from graphql.language import visit
from graphql.language.visitor import Visitor

from mlops.errors import Invalid
from mlops.graphql.rules import RULES
from mlops.selectors.keysets import MAX_PAGE_SIZE, PAGE_SIZE

MAX_TOKENS = 2_000
MAX_COMMENTS = 200
MAX_DEPTH = 15
MAX_ALIASES = 50
MAX_COST = 20_000
MAX_PROBLEMS = 20
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
    weight = _Scale(schema, document, variables).weigh(operation)
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
            % {"cost": weight.cost, "limit": MAX_COST},
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
    cost: int = 0


class _Scale:
    def __init__(self, schema: GraphQLSchema, document: DocumentNode, variables: Mapping[str, Any]) -> None:
        self._schema = schema
        self._document = document
        self._variables = variables
        self._fragments = {
            one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)
        }
        self._weighed: dict[str, Weight] = {}

    def weigh(self, operation: str | None) -> Weight:
        """The heaviest of the operations that may be meant."""
        weights = [
            self._set(one.selection_set, self._schema.get_root_type(one.operation))
            for one in self._document.definitions
            if isinstance(one, OperationDefinitionNode)
            and (operation is None or (one.name is not None and one.name.value == operation))
        ]
        return Weight(max((one.depth for one in weights), default=0), max((one.cost for one in weights), default=0))

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
        if node.name.value.startswith("__"):
            return Weight(1, 1)  # introspection has its own rule
        field = parent.fields[node.name.value]
        below = self._set(node.selection_set, get_named_type(field.type))
        return Weight(1 + below.depth, 1 + self._times(node, field, parent) * below.cost)

    def _times(self, node: FieldNode, field: Any, parent: Any) -> int:
        """How often what is below a field may be resolved."""
        if "first" in field.args:
            return self._page(node, PAGE_SIZE if parent is self._schema.query_type else CHILDREN)
        is_list = isinstance(field.type.of_type if isinstance(field.type, GraphQLNonNull) else field.type, GraphQLList)
        return SHORT_LIST if is_list and get_named_type(field.type).name[-4:] != "Edge" else 1

    def _page(self, node: FieldNode, default: int) -> int:
        given = next((one.value for one in node.arguments or () if one.name.value == "first"), None)
        size: Any = default
        if isinstance(given, IntValueNode):
            size = int(given.value)
        elif isinstance(given, VariableNode):
            size = self._variables.get(given.name.value, default)
        return min(size, MAX_PAGE_SIZE) if isinstance(size, int) and size > 0 else default
