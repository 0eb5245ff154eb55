"""The root of the GraphQL schema, put together from the parts of the apps."""

from __future__ import annotations

import graphene

from datasets.graphql import mutations as datasets_mutations
from datasets.graphql import queries as datasets_queries
from executions.graphql import mutations as executions_mutations
from executions.graphql import queries as executions_queries
from executions.graphql import subscriptions as executions_subscriptions
from mlops.graphql import mutations as mlops_mutations
from mlops.graphql import queries as mlops_queries
from optimizations.graphql import mutations as optimizations_mutations
from optimizations.graphql import queries as optimizations_queries
from optimizations.graphql import subscriptions as optimizations_subscriptions
from programs.graphql import mutations as programs_mutations
from programs.graphql import queries as programs_queries


class Query(
    programs_queries.Query,
    datasets_queries.Query,
    executions_queries.Query,
    optimizations_queries.Query,
    mlops_queries.Query,
):
    """What can be read: one row, a list, or any row by its id."""


class Mutation(
    programs_mutations.Mutation,
    datasets_mutations.Mutation,
    executions_mutations.Mutation,
    optimizations_mutations.Mutation,
    mlops_mutations.Mutation,
):
    """What can be done: each verb once, with one `input`."""


class Subscription(executions_subscriptions.Subscription, optimizations_subscriptions.Subscription):
    """What can be followed, over WebSocket at /graphql/ws/."""


schema = graphene.Schema(query=Query, mutation=Mutation, subscription=Subscription)
