"""Mutations of programs and what they consist of."""

from __future__ import annotations

from functools import partial
from typing import Any

import graphene

from mlops.graphql.scalars import JSONObject
from mlops.graphql.verbs import Reference, VerbMutation, by_id
from programs import services
from programs.graphql.inputs import (
    CREDITS,
    LANGUAGE_MODEL,
    MODULE,
    SIGNATURE,
    ConnectionInput,
    FieldInput,
    ModuleInputType,
    connection_specs,
    field_specs,
    module_arguments,
    module_inputs,
    program_arguments,
)
from programs.graphql.types import (
    ConnectionType,
    ModuleType,
    ProblemType,
    ProgramType,
    PromptVersionType,
    SignatureType,
)
from programs.models import Module, ModuleConnection, PromptVersion
from programs.selectors import access_program, access_signature
from programs.services import ModuleInput
from programs.types import ConnectionSpec

PROGRAM = Reference(partial(access_program, action=None))
OTHER_PROGRAM = Reference(access_program, required=False)
KNOWN_SIGNATURE = Reference(partial(access_signature, action=None))
MODULE_ROW, CONNECTION_ROW, PROMPT_VERSION_ROW = by_id(Module), by_id(ModuleConnection), by_id(PromptVersion)

ONE_PROGRAM: dict[str, Any] = {"gives": {"program": ProgramType}, "takes": {"program": PROGRAM}}
FIELDS = graphene.List(graphene.NonNull(FieldInput), description="All its fields, inputs first.")
SHORTHAND = graphene.String(description="Instead of `fields`, such as: question: str -> answer: str")
CHANGES = {"description": graphene.String(), "config": JSONObject(), "credits_per_execution": CREDITS}
GROUP = graphene.String(description="Name of a group.")


def _create_program(*, actor: Any, modules: Any = (), connections: Any = (), **given: Any) -> Any:
    return services.create_program(
        actor=actor,
        modules=module_inputs(actor, modules or ()),
        connections=connection_specs(connections or ()),
        **program_arguments(given),
    )


def _update_program(*, actor: Any, program: Any, **given: Any) -> Any:
    return services.update_program(actor=actor, program=program, **program_arguments(given))


def _validate_program(*, actor: Any, program: Any) -> dict[str, Any]:
    problems = services.validate_program(actor=actor, program=program)
    return {"valid": not problems, "problems": problems}


def _add_module(*, actor: Any, program: Any, module: Any) -> Any:
    given = ModuleInput(**module_arguments(actor, module, "module."))
    return services.add_module(actor=actor, program=program, module=given)


def _add_connection(*, actor: Any, program: Any, connection: Any) -> Any:
    return services.add_connection(actor=actor, program=program, connection=ConnectionSpec(**connection))


def _signature(service: Any) -> Any:
    def perform(**given: Any) -> Any:
        if given.get("fields") is not None:
            given["fields"] = field_specs(given["fields"])
        return service(**given)

    return perform


def _create_prompt_version(*, actor: Any, activate: bool = False, **given: Any) -> Any:
    write = services.set_prompt if activate else services.create_prompt_version
    return write(actor=actor, **given)


class Mutation(graphene.ObjectType):  # type: ignore[misc]  # graphene has no types
    create_program = VerbMutation(
        services.create_program,
        gives={"program": ProgramType},
        takes={
            "name": graphene.String(required=True),
            **CHANGES,
            "group": GROUP,
            "modules": graphene.List(graphene.NonNull(ModuleInputType)),
            "connections": graphene.List(graphene.NonNull(ConnectionInput)),
        },
        perform=_create_program,
    )
    update_program = VerbMutation(
        services.update_program,
        gives={"program": ProgramType},
        takes={"program": PROGRAM, **CHANGES, "group": GROUP},
        clears=("credits_per_execution", "group"),
        perform=_update_program,
    )
    delete_program = VerbMutation(services.delete_program, gives={}, takes={"program": PROGRAM})
    new_version = VerbMutation(services.new_version, **ONE_PROGRAM)
    submit_program = VerbMutation(services.submit_program, **ONE_PROGRAM)
    archive_program = VerbMutation(services.archive_program, **ONE_PROGRAM)
    validate_program = VerbMutation(
        services.validate_program,
        gives={
            "valid": graphene.Boolean(),
            "problems": graphene.List(graphene.NonNull(ProblemType), description="What keeps it from being submitted."),
        },
        takes={"program": PROGRAM},
        perform=_validate_program,
    )
    deploy_program = VerbMutation(
        services.deploy_program, gives={"program": ProgramType}, takes={"program": PROGRAM, "reason": graphene.String()}
    )
    roll_back_program = VerbMutation(
        services.roll_back_program,
        gives={"program": ProgramType},
        takes={"program": PROGRAM, "to": OTHER_PROGRAM, "reason": graphene.String()},
    )
    add_module = VerbMutation(
        services.add_module,
        gives={"module": ModuleType},
        takes={"program": PROGRAM, "module": graphene.InputField(ModuleInputType, required=True)},
        perform=_add_module,
    )
    update_module = VerbMutation(
        services.update_module,
        gives={"module": ModuleType},
        takes={"module": MODULE_ROW, **MODULE, "signature": SIGNATURE, "language_model": LANGUAGE_MODEL},
        clears=("signature", "language_model"),
    )
    remove_module = VerbMutation(services.remove_module, gives={}, takes={"module": MODULE_ROW})
    add_connection = VerbMutation(
        services.add_connection,
        gives={"connection": ConnectionType},
        takes={"program": PROGRAM, "connection": graphene.InputField(ConnectionInput, required=True)},
        perform=_add_connection,
    )
    remove_connection = VerbMutation(services.remove_connection, gives={}, takes={"connection": CONNECTION_ROW})
    create_signature = VerbMutation(
        services.create_signature,
        gives={"signature": SignatureType},
        takes={
            "name": graphene.String(required=True), "instructions": graphene.String(), "fields": FIELDS,
            "shorthand": SHORTHAND,
        },
        perform=_signature(services.create_signature),
    )  # fmt: skip
    update_signature = VerbMutation(
        services.update_signature,
        gives={"signature": SignatureType},
        takes={
            "signature": KNOWN_SIGNATURE, "instructions": graphene.String(), "fields": FIELDS, "shorthand": SHORTHAND
        },
        perform=_signature(services.update_signature),
    )  # fmt: skip
    new_signature_version = VerbMutation(
        services.new_signature_version,
        gives={"signature": SignatureType},
        takes={
            "signature": KNOWN_SIGNATURE, "instructions": graphene.String(), "fields": FIELDS, "shorthand": SHORTHAND
        },
        perform=_signature(services.new_signature_version),
    )  # fmt: skip
    delete_signature = VerbMutation(services.delete_signature, gives={}, takes={"signature": KNOWN_SIGNATURE})
    create_prompt_version = VerbMutation(
        services.create_prompt_version,
        gives={"prompt_version": PromptVersionType},
        takes={
            "module": MODULE_ROW,
            "prompt_template": graphene.String(required=True),
            "demos": graphene.List(graphene.NonNull(JSONObject)),
            "version": graphene.String(description="Counted when left out."),
            "activate": graphene.Boolean(description="Give it all the traffic of its module."),
        },
        perform=_create_prompt_version,
    )
    activate_prompt_version = VerbMutation(
        services.activate_prompt_version,
        gives={"prompt_version": PromptVersionType},
        takes={"prompt_version": PROMPT_VERSION_ROW},
    )
