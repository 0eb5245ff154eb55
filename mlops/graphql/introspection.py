"""How much of the schema an introspection asks for: its lists counted as long as they are on average."""

from __future__ import annotations

from functools import cache

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    SchemaMetaFieldDef,
    TypeMetaFieldDef,
    TypeNameMetaFieldDef,
    get_introspection_query,
)

META_FIELDS = {
    "__schema": SchemaMetaFieldDef,
    "__type": TypeMetaFieldDef,
    "__typename": TypeNameMetaFieldDef,
}

WHOLE = get_introspection_query(
    descriptions=True,
    specified_by_url=True,
    directive_is_repeatable=True,
    schema_description=True,
    input_value_deprecation=True,
    input_object_one_of=True,
)
"""The query by which clients, GraphiQL among them, learn the whole schema."""


@cache
def lengths_of(schema: GraphQLSchema) -> dict[str, float]:
    """The average lengths of the lists of an introspection, by their fields."""
    types = schema.type_map.values()
    made_of_fields = [one for one in types if isinstance(one, GraphQLObjectType | GraphQLInterfaceType)]
    abstract = [one for one in types if isinstance(one, GraphQLInterfaceType | GraphQLUnionType)]
    fields = [field for one in made_of_fields for field in one.fields.values()]
    directives = schema.directives
    totals = {
        "fields": len(fields),
        "inputFields": sum(len(one.fields) for one in types if isinstance(one, GraphQLInputObjectType)),
        "interfaces": sum(len(one.interfaces) for one in made_of_fields),
        "possibleTypes": sum(len(schema.get_possible_types(one)) for one in abstract),
        "enumValues": sum(len(one.values) for one in types if isinstance(one, GraphQLEnumType)),
    }
    arguments = sum(len(one.args) for one in (*fields, *directives))
    return {
        "types": len(types),
        "directives": len(directives),
        "args": arguments / (len(fields) + len(directives)),
        **{name: total / len(types) for name, total in totals.items()},
    }
