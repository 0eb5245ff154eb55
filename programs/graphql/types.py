"""Types of programs and what they consist of."""

from __future__ import annotations

from typing import Any

import graphene
from django.contrib.auth.models import Group

from mlops.graphql.lists import All, Children
from mlops.graphql.peers import peers_of, target_of
from mlops.graphql.records import Listed, Part, Record, Target, actor_of
from mlops.graphql.scalars import Decimal, Money
from mlops.graphql.types import LanguageModelType, UserType
from mlops.money import as_decimal
from mlops.policies import engineers
from mlops.types import MICRO_PER_CREDIT, PICO_PER_USD
from programs.costs import monthly_costs
from programs.filters import (
    ConnectionFilter,
    DeploymentFilter,
    ModuleFilter,
    ProgramFilter,
    PromptSetFilter,
    PromptVersionFilter,
    SignatureFilter,
)
from programs.models import (
    Deployment,
    Module,
    ModuleConnection,
    Program,
    PromptSet,
    PromptVersion,
    Signature,
    SignatureField,
)

TIMES = ("created_at", "updated_at")


class SignatureFieldType(Part):
    """A typed input or output of a signature."""

    class Meta:
        name = "SignatureField"
        model = SignatureField
        fields = (
            "name", "is_input", "type", "is_list", "description", "required", "has_default", "default", "choices",
            "schema", "constraints",
        )  # fmt: skip


class SignatureType(Record):
    """A version of what modules take and give."""

    class Meta:
        name = "Signature"
        model = Signature
        fields = ("id", "name", "version", "frozen_at", *TIMES)
        heavy = ("instructions",)
        listed = Listed(SignatureFilter, orderings=("name",), search=("name", "instructions"))

    fields = All(SignatureFieldType, "fields")


class PromptVersionType(Record):
    """A version of a module's instructions and demos."""

    class Meta:
        name = "PromptVersion"
        model = PromptVersion
        fields = ("id", "version", "traffic_percentage", "performance_metrics", "source_kind", "source_id", *TIMES)
        heavy = ("prompt_template", "demos")
        listed = Listed(PromptVersionFilter)

    module = Target(lambda: ModuleType)


class ModuleType(Record):
    """One step of a program."""

    class Meta:
        name = "Module"
        model = Module
        fields = ("id", "key", "kind", "config", "position", *TIMES)
        listed = Listed(ModuleFilter, search=("key",), order_by=("program_id", "position"))

    program = Target(lambda: ProgramType)
    signature = Target(SignatureType)
    language_model = Target(LanguageModelType)
    prompt_versions = Children(PromptVersionType, "module")


class ConnectionType(Record):
    """A field that feeds another; without a module it is the program's own boundary."""

    class Meta:
        name = "ConnectionRecord"  # "ModuleConnection" is what GraphQL calls a list of modules
        model = ModuleConnection
        fields = ("id", "from_field", "to_field", *TIMES)
        listed = Listed(ConnectionFilter)

    program = Target(lambda: ProgramType)
    from_module = Target(ModuleType)
    to_module = Target(ModuleType)


class PromptSetType(Record):
    """One prompt version per module of a program, as executions used them."""

    class Meta:
        name = "PromptSet"
        model = PromptSet
        fields = ("id", "digest", "created_at")
        listed = Listed(PromptSetFilter)

    program = Target(lambda: ProgramType)
    versions = All(PromptVersionType, "versions")


class DeploymentType(Record):
    """Which version became production, what it replaced, who did it, when and why."""

    class Meta:
        name = "Deployment"
        model = Deployment
        fields = ("id", "reason", "is_roll_back", "created_at")
        listed = Listed(DeploymentFilter)

    program = Target(lambda: ProgramType)
    replaced = Target(lambda: ProgramType)
    user = Target(UserType)


class ProgramType(Record):
    """A version of a named program."""

    class Meta:
        name = "Program"
        model = Program
        fields = ("id", "name", "version", "description", "status", "traffic_percentage", *TIMES)
        heavy = ("config", "metrics")
        listed = Listed(ProgramFilter, orderings=("name",), search=("name", "description"))

    credits_per_execution = Money("credits_per_execution", MICRO_PER_CREDIT)
    group = graphene.String(description="Name of the group whose members alone know of it.")
    monthly_cost_usd = Decimal(
        description="Of the last 30 days, for everybody; null for whom only their own usage concerns."
    )
    modules = Children(ModuleType, "program")
    connections = Children(ConnectionType, "program")
    prompt_sets = Children(PromptSetType, "program")
    deployments = Children(DeploymentType, "program")

    @staticmethod
    def resolve_group(program: Program, info: Any) -> str | None:
        group = target_of(program, "group", Group.objects.all)
        return None if group is None else str(group.name)

    @staticmethod
    def resolve_monthly_cost_usd(program: Program, info: Any) -> str | None:
        if not engineers(actor_of(info), program):
            return None
        costs = peers_of(program).once("monthly_cost", lambda rows: monthly_costs([row.pk for row in rows]))
        return as_decimal(costs[program.pk], PICO_PER_USD)


class ProblemType(graphene.ObjectType):  # type: ignore[misc]  # graphene has no types
    """What keeps a program from being submitted."""

    class Meta:
        name = "ProgramProblem"

    field = graphene.String(required=True)
    code = graphene.String(required=True)
    message = graphene.String(required=True)
