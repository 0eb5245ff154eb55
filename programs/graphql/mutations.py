"""Mutations of programs and what they consist of."""

from __future__ import annotations

from functools import partial

import graphene

from mlops.graphql.mutations import Mutation as Verb
from mlops.graphql.mutations import Reference
from programs import services
from programs.graphql.types import ProgramType
from programs.selectors import access_program

PROGRAM = Reference(partial(access_program, action=None))


class Mutation(graphene.ObjectType):  # type: ignore[misc]  # graphene has no types
    deploy_program = Verb(
        services.deploy_program, gives={"program": ProgramType}, takes={"program": PROGRAM, "reason": graphene.String()}
    )
    submit_program = Verb(services.submit_program, gives={"program": ProgramType}, takes={"program": PROGRAM})
