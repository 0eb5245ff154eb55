"""Subscriptions to optimizations."""

from __future__ import annotations

import graphene

from mlops.graphql.subscriptions import OneRow, Subject, Updates, uuid_of
from mlops.models import User
from optimizations.errors import optimization_not_found
from optimizations.graphql.types import OptimizationType
from optimizations.models import Optimization
from optimizations.policies import optimization_policy
from optimizations.selectors import access_optimization


def followed_optimization(*, actor: User, optimization_id: str) -> Subject:
    """Raises as `access_optimization`."""
    id = uuid_of(optimization_id, optimization_not_found)
    return OneRow(optimization_policy, Optimization, access_optimization(actor=actor, optimization_id=id).pk)


class Subscription(graphene.ObjectType):  # type: ignore[misc]  # graphene has no types
    optimization_updates = Updates(
        OptimizationType,
        followed_optimization,
        optimization_id=graphene.ID(required=True),
        description="An optimization, as it is and after each change until it ends.",
    )
