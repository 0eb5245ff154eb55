"""Programs and what they consist of. The programs are limited to the group that the engineer is in."""

from __future__ import annotations

from programs.models import Module, Program, Signature
from programs.services import ModuleInput, add_connection, create_prompt_version, deploy_program, new_version
from programs.services import submit_program as submit
from programs.types import ConnectionSpec, PromptSpec
from tests.factories import make_signature
from tests.policies.case import Case, case
from tests.policies.people import World

ANSWER = ConnectionSpec("classify", "intent", "", "answer")


def module_of(program: Program) -> Module:
    module: Module = program.modules.get()
    return module


def signature_of(program: Program) -> Signature:
    signature = module_of(program).signature
    assert signature is not None
    return signature


@case("create_program")
def create_program(world: World) -> Case:
    return Case({"name": "new"}, body={"name": "new"}, form={"name": "new", "config": "{}"})


@case("update_program")
def update_program(world: World) -> Case:
    changes = {"description": "changed"}
    return Case({"program": world.draft, **changes}, world.draft, body=changes, form=changes)


@case("new_version")
def next_version(world: World) -> Case:
    return Case({"program": world.draft}, world.draft)


@case("submit_program")
def submit_program(world: World) -> Case:
    world.program()  # makes the default language model
    return Case({"program": world.draft}, world.draft)


@case("deploy_program")
def deploy(world: World) -> Case:
    program = world.program("testing")
    return Case({"program": program}, program)


@case("archive_program")
def archive_program(world: World) -> Case:
    program = world.program("testing")
    return Case({"program": program}, program)


@case("roll_back_program")
def roll_back_program(world: World) -> Case:
    program = world.program("production")
    later = submit(actor=world.admin, program=new_version(actor=world.admin, program=program))
    current = deploy_program(actor=world.admin, program=later)
    return Case({"program": current}, current)


@case("validate_program")
def validate_program(world: World) -> Case:
    return Case({"program": world.draft}, world.draft)


@case("delete_program")
def delete_program(world: World) -> Case:
    return Case({"program": world.draft}, world.draft)


@case("add_module")
def add_module(world: World) -> Case:
    signature = make_signature()
    body = {"program": str(world.draft.pk), "key": "reply", "signature": str(signature.pk)}
    form = {
        "modules-TOTAL_FORMS": "2", "modules-1-program": str(world.draft.pk), "modules-1-key": "reply",
        "modules-1-kind": "predict", "modules-1-signature": str(signature.pk), "modules-1-config": "{}",
        "modules-1-position": "1",
    }  # fmt: skip
    arguments = {"program": world.draft, "module": ModuleInput(key="reply", signature=signature)}
    return Case(arguments, body=body, form=form, page=world.draft)


@case("update_module")
def update_module(world: World) -> Case:
    module, changes = module_of(world.draft), {"kind": "chain_of_thought"}
    form = {"modules-0-kind": "chain_of_thought"}
    return Case({"module": module, **changes}, module, body=changes, form=form, page=world.draft)


@case("remove_module")
def remove_module(world: World) -> Case:
    module = module_of(world.draft)
    return Case({"module": module}, module, form={"modules-0-DELETE": "on"}, page=world.draft)


@case("add_connection")
def connect(world: World) -> Case:
    body = {"program": str(world.draft.pk), "from_module": "classify", "from_field": "intent", "to_field": "answer"}
    form = {
        "connections-TOTAL_FORMS": "1", "connections-0-program": str(world.draft.pk),
        "connections-0-from_module": str(module_of(world.draft).pk), "connections-0-from_field": "intent",
        "connections-0-to_module": "", "connections-0-to_field": "answer",
    }  # fmt: skip
    return Case({"program": world.draft, "connection": ANSWER}, body=body, form=form, page=world.draft)


@case("remove_connection")
def remove_connection(world: World) -> Case:
    connection = add_connection(actor=world.admin, program=world.draft, connection=ANSWER)
    return Case({"connection": connection}, connection, form={"connections-0-DELETE": "on"}, page=world.draft)


@case("create_prompt_version")
def new_prompt_version(world: World) -> Case:
    module, given = module_of(world.draft), {"prompt_template": "Sort it."}
    named = {**given, "module": str(module.pk)}
    return Case({"module": module, **given}, body=named, form={**named, "demos": "[]"})


@case("activate_prompt_version")
def activate_prompt_version(world: World) -> Case:
    version = create_prompt_version(actor=world.admin, module=module_of(world.draft), prompt_template="Sort it.")
    return Case({"prompt_version": version}, version)


@case("set_prompt")
def set_prompt(world: World) -> Case:
    return Case({"module": module_of(world.draft), "prompt_template": "Sort it."})


@case("create_result_version")
def create_result_version(world: World) -> Case:
    arguments = {"program": world.draft, "prompts": {"classify": PromptSpec("Sort it.")}}
    return Case({**arguments, "source_kind": "optimization", "source_id": world.draft.pk})


@case("create_signature")
def create_signature(world: World) -> Case:
    given = {"name": "new", "shorthand": "message -> intent"}
    return Case(given, body=given, form=given)


@case("update_signature")
def update_signature(world: World) -> Case:
    signature, changes = signature_of(world.draft), {"instructions": "Sort it."}
    return Case({"signature": signature, **changes}, signature, body=changes, form=changes)


@case("new_signature_version")
def new_signature_version(world: World) -> Case:
    signature = signature_of(world.draft)
    return Case({"signature": signature}, signature)


@case("delete_signature")
def delete_signature(world: World) -> Case:
    signature = make_signature()
    return Case({"signature": signature}, signature)
