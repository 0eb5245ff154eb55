"""Queries of programs and what they consist of."""

from __future__ import annotations

import graphene

from mlops.graphql.lists import Rows
from mlops.graphql.records import Get
from programs.graphql.types import (
    ConnectionType,
    DeploymentType,
    ModuleType,
    ProgramType,
    PromptSetType,
    PromptVersionType,
    SignatureType,
)
from programs.selectors import access_program, access_signature


class Query(graphene.ObjectType):  # type: ignore[misc]  # graphene has no types
    get_program = Get(ProgramType, access_program)
    list_programs = Rows(ProgramType)
    get_signature = Get(SignatureType, access_signature)
    list_signatures = Rows(SignatureType)
    get_module = Get(ModuleType)
    list_modules = Rows(ModuleType)
    get_connection = Get(ConnectionType)
    list_connections = Rows(ConnectionType)
    get_prompt_version = Get(PromptVersionType)
    list_prompt_versions = Rows(PromptVersionType)
    get_prompt_set = Get(PromptSetType)
    list_prompt_sets = Rows(PromptSetType)
    get_deployment = Get(DeploymentType)
    list_deployments = Rows(DeploymentType)
