"""Programs and their parts over REST."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.db.models import Prefetch, QuerySet, prefetch_related_objects
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from mlops.api.history import Remembers, Reverts
from mlops.api.viewsets import Creates, Deletes, RecordViewSet, Updates
from mlops.selectors import access
from programs import services
from programs.api import bodies
from programs.api.arguments import module_arguments, module_input, program_arguments, referred_program
from programs.api.serializers import (
    ConnectionSerializer,
    DeploymentSerializer,
    ModuleSerializer,
    ProgramRowSerializer,
    ProgramSerializer,
    PromptSetSerializer,
    PromptVersionRowSerializer,
    PromptVersionSerializer,
    SignatureRowSerializer,
    SignatureSerializer,
)
from programs.api.timeline import TimelineSerializer, timeline_response
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
from programs.models import Deployment, Module, ModuleConnection, Program, PromptSet, PromptVersion, Signature
from programs.selectors import access_program, access_signature

REFERENCE = "[A-Za-z0-9_@-]{1,128}"
PARTS = ("modules", Prefetch("connections", ModuleConnection.objects.select_related("from_module", "to_module")))


class ProgramViewSet(Creates, Updates, Deletes, Reverts):
    """Programs. A version is addressed by its id or by `name`, `name@production`, `name@testing`, `name@latest` or
    `name@3`."""

    queryset = Program.objects.select_related("group")
    serializer_class = ProgramSerializer
    list_serializer_class = ProgramRowSerializer
    filterset_class = ProgramFilter
    search_fields = ("name", "description")
    ordering_fields = ("name",)
    lookup_value_regex = REFERENCE
    verbs = {
        "create": services.create_program,
        "partial_update": services.update_program,
        "destroy": services.delete_program,
        "submit": services.submit_program,
        "deploy": services.deploy_program,
        "archive": services.archive_program,
        "new_version": services.new_version,
        "roll_back": services.roll_back_program,
        "validate": services.validate_program,
    }
    writes = {
        "create": bodies.CreateProgramBody,
        "partial_update": bodies.ProgramChangesBody,
        "submit": bodies.EmptyBody,
        "deploy": bodies.DeployBody,
        "archive": bodies.EmptyBody,
        "new_version": bodies.EmptyBody,
        "roll_back": bodies.RollBackBody,
        "validate": bodies.EmptyBody,
    }
    makes = ("create", "new_version")

    def in_list(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return rows.defer("config", "metrics")

    def paginate_queryset(self, queryset: Any) -> Any:
        """With what the programs of the page cost, known by one query."""
        page = super().paginate_queryset(queryset)
        costs = monthly_costs([program.pk for program in page or ()])
        for program in page or ():
            program.monthly_cost = costs[program.pk]
        return page

    def get_object(self) -> Program:
        return access_program(actor=self.actor, ref=self.kwargs["pk"], action=self.right)

    def answer(self, row: Any, status: int = 200, **headers: str) -> Response:
        prefetch_related_objects([row], *PARTS)
        return super().answer(row, status, **headers)

    def perform_create(self, fields: dict[str, Any]) -> Program:
        modules = [
            module_input(self.actor, given, f"modules.{position}.")
            for position, given in enumerate(fields.pop("modules", ()))
        ]
        connections = [bodies.connection_spec(given) for given in fields.pop("connections", ())]
        return services.create_program(
            actor=self.actor, modules=modules, connections=connections, **program_arguments(fields)
        )

    def perform_update(self, row: Program, fields: dict[str, Any]) -> Program:
        return services.update_program(actor=self.actor, program=row, **program_arguments(fields))

    def perform_destroy(self, row: Program) -> None:
        services.delete_program(actor=self.actor, program=row)

    @action(detail=True, methods=["post"])
    def submit(self, request: Request, pk: str) -> Response:
        """draft -> testing: validated and frozen."""
        row = self.get_object()
        return self.answer(services.submit_program(actor=self.actor, program=row, **self.arguments()))

    @action(detail=True, methods=["post"])
    def deploy(self, request: Request, pk: str) -> Response:
        """Make it the production version; the former one is archived."""
        row = self.get_object()
        return self.answer(services.deploy_program(actor=self.actor, program=row, **self.arguments()))

    @action(detail=True, methods=["post"])
    def archive(self, request: Request, pk: str) -> Response:
        """Take it out of use."""
        row = self.get_object()
        return self.answer(services.archive_program(actor=self.actor, program=row, **self.arguments()))

    @action(detail=True, methods=["post"])
    def new_version(self, request: Request, pk: str) -> Response:
        """The next version, in draft, with everything copied."""
        row = services.new_version(actor=self.actor, program=self.get_object(), **self.arguments())
        return self.answer_made(row)

    @action(detail=True, methods=["post"])
    def roll_back(self, request: Request, pk: str) -> Response:
        """Put an archived version back in production; answers with that version."""
        row = self.get_object()
        fields = self.arguments()
        to = referred_program(self.actor, fields["to"], "to") if "to" in fields else None
        return self.answer(services.roll_back_program(actor=self.actor, program=row, to=to, reason=fields["reason"]))

    @extend_schema(responses=bodies.ValidationBody)  # type: ignore[untyped-decorator]  # drf-spectacular has no types
    @action(detail=True, methods=["post"])
    def validate(self, request: Request, pk: str) -> Response:
        """Build it and report every problem; nothing changes."""
        problems = services.validate_program(actor=self.actor, program=self.get_object(), **self.arguments())
        return Response({"valid": not problems, "problems": [asdict(problem) for problem in problems]})

    @extend_schema(  # type: ignore[untyped-decorator]  # drf-spectacular has no types
        parameters=[OpenApiParameter("cursor", str), OpenApiParameter("page_size", int)], responses=TimelineSerializer
    )
    @action(detail=True, filter_backends=[], pagination_class=None)
    def timeline(self, request: Request, pk: str) -> Response:
        """What happened to it, all versions together: edits, deployments, roll-backs and compile jobs, latest first."""
        return timeline_response(request, self.actor, self.get_object())


class SignatureViewSet(Creates, Updates, Deletes, Reverts):
    """Signatures, addressed by id, by `name` (the newest version) or by `name@2`."""

    queryset = Signature.objects.all()
    serializer_class = SignatureSerializer
    list_serializer_class = SignatureRowSerializer
    filterset_class = SignatureFilter
    search_fields = ("name", "instructions")
    ordering_fields = ("name",)
    lookup_value_regex = REFERENCE
    verbs = {
        "create": services.create_signature,
        "partial_update": services.update_signature,
        "destroy": services.delete_signature,
        "new_version": services.new_signature_version,
    }
    writes = {
        "create": bodies.CreateSignatureBody,
        "partial_update": bodies.SignatureChangesBody,
        "new_version": bodies.SignatureChangesBody,
    }
    makes = ("create", "new_version")

    def in_list(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return rows.defer("instructions")

    def get_object(self) -> Signature:
        return access_signature(actor=self.actor, ref=self.kwargs["pk"], action=self.right)

    def perform_create(self, fields: dict[str, Any]) -> Signature:
        return services.create_signature(actor=self.actor, **_with_specs(fields))

    def perform_update(self, row: Signature, fields: dict[str, Any]) -> Signature:
        return services.update_signature(actor=self.actor, signature=row, **_with_specs(fields))

    def perform_destroy(self, row: Signature) -> None:
        services.delete_signature(actor=self.actor, signature=row)

    @action(detail=True, methods=["post"])
    def new_version(self, request: Request, pk: str) -> Response:
        """The next version: a copy with the changes."""
        signature = self.get_object()
        fields = _with_specs(self.arguments())
        row = services.new_signature_version(actor=self.actor, signature=signature, **fields)
        return self.answer_made(row)


class ModuleViewSet(Creates, Updates, Deletes, Reverts):
    """Modules of programs, in their order."""

    queryset = Module.objects.select_related("program").order_by("program_id", "position")
    serializer_class = ModuleSerializer
    filterset_class = ModuleFilter
    search_fields = ("key",)
    verbs = {
        "create": services.add_module,
        "partial_update": services.update_module,
        "destroy": services.remove_module,
    }
    writes = {"create": bodies.AddModuleBody, "partial_update": bodies.ModuleChangesBody}

    def perform_create(self, fields: dict[str, Any]) -> Module:
        program = referred_program(self.actor, fields.pop("program"))
        return services.add_module(actor=self.actor, program=program, module=module_input(self.actor, fields))

    def perform_update(self, row: Module, fields: dict[str, Any]) -> Module:
        return services.update_module(actor=self.actor, module=row, **module_arguments(self.actor, fields))

    def perform_destroy(self, row: Module) -> None:
        services.remove_module(actor=self.actor, module=row)


class ConnectionViewSet(Creates, Deletes, Remembers):
    """Connections between fields of modules."""

    queryset = ModuleConnection.objects.select_related("program", "from_module", "to_module")
    serializer_class = ConnectionSerializer
    filterset_class = ConnectionFilter
    verbs = {"create": services.add_connection, "destroy": services.remove_connection}
    writes = {"create": bodies.AddConnectionBody}

    def perform_create(self, fields: dict[str, Any]) -> ModuleConnection:
        program = referred_program(self.actor, fields.pop("program"))
        return services.add_connection(actor=self.actor, program=program, connection=bodies.connection_spec(fields))

    def perform_destroy(self, row: ModuleConnection) -> None:
        services.remove_connection(actor=self.actor, connection=row)


class PromptVersionViewSet(Creates, Remembers):
    """Prompt versions. Their content never changes: what is different is another version."""

    queryset = PromptVersion.objects.select_related("module__program")
    serializer_class = PromptVersionSerializer
    list_serializer_class = PromptVersionRowSerializer
    filterset_class = PromptVersionFilter
    verbs = {"create": services.create_prompt_version, "activate": services.activate_prompt_version}
    writes = {"create": bodies.CreatePromptVersionBody, "activate": bodies.EmptyBody}

    def in_list(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return rows.select_related(None).defer("demos", "prompt_template")

    def perform_create(self, fields: dict[str, Any]) -> PromptVersion:
        module = access(Module, actor=self.actor, id=fields.pop("module"))
        make = services.set_prompt if fields.pop("activate") else services.create_prompt_version
        return make(actor=self.actor, module=module, **fields)

    @action(detail=True, methods=["post"])
    def activate(self, request: Request, pk: str) -> Response:
        """Give it all the traffic of its module."""
        row = self.get_object()
        return self.answer(services.activate_prompt_version(actor=self.actor, prompt_version=row, **self.arguments()))


class PromptSetViewSet(RecordViewSet):
    """Prompt sets: one prompt version per module, as executions used them."""

    queryset = PromptSet.objects.prefetch_related(Prefetch("versions", PromptVersion.objects.only("id").order_by("id")))
    serializer_class = PromptSetSerializer
    filterset_class = PromptSetFilter


class DeploymentViewSet(RecordViewSet):
    """Deployments, newest first: which version became production, what it replaced, who, when and why."""

    queryset = Deployment.objects.all()
    serializer_class = DeploymentSerializer
    filterset_class = DeploymentFilter


def _with_specs(fields: dict[str, Any]) -> dict[str, Any]:
    if "fields" not in fields:
        return fields
    return {**fields, "fields": [bodies.field_spec(given) for given in fields["fields"]]}
