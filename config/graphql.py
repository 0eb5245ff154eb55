"""The root of the GraphQL schema, put together from the parts of the apps."""

from __future__ import annotations

import graphene

from datasets.graphql import mutations as datasets_mutations
from datasets.graphql import queries as datasets_queries
from mlops.graphql import mutations as mlops_mutations
from mlops.graphql import queries as mlops_queries
from programs.graphql import mutations as programs_mutations
from programs.graphql import queries as programs_queries


class Query(programs_queries.Query, datasets_queries.Query, mlops_queries.Query):
    """What can be read: one row, a list, or any row by its id."""


class Mutation(programs_mutations.Mutation, datasets_mutations.Mutation, mlops_mutations.Mutation):
    """What can be done: each verb once, with one `input`."""


schema = graphene.Schema(query=Query, mutation=Mutation)
