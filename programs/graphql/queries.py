"""Queries of programs and what they consist of."""

from __future__ import annotations

import graphene

from mlops.graphql.lists import Rows
from mlops.graphql.records import Get
from programs.graphql.types import ModuleType, ProgramType, SignatureType
from programs.selectors import access_program, access_signature


class Query(graphene.ObjectType):  # type: ignore[misc]  # graphene has no types
    get_program = Get(ProgramType, access_program)
    list_programs = Rows(ProgramType)
    get_signature = Get(SignatureType, access_signature)
    list_signatures = Rows(SignatureType)
    get_module = Get(ModuleType)
    list_modules = Rows(ModuleType)
