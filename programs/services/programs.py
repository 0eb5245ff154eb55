"""Verbs of programs: create, change, next version, delete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, Unpack

from django.contrib.auth.models import Group
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError
from django.utils.translation import gettext as _

from mlops.errors import Conflict, Invalid
from mlops.grants import token_restricted
from mlops.models import User
from mlops.services.history import delete_with_history, save_with_history
from mlops.services.locking import locked
from mlops.services.reverting import revertible
from mlops.verbs import verb
from programs.errors import program_frozen, program_in_use, program_not_found
from programs.models import Module, ModuleConnection, Program, PromptVersion
from programs.policies import program_policy
from programs.services.checks import (
    check_group,
    check_name,
    check_text,
    locked_versions,
)
from programs.services.configs import check_program_config
from programs.services.connections import save_new_connection
from programs.services.demos import save_prompt_version
from programs.services.modules import ModuleInput, save_new_module
from programs.types import ConnectionSpec, ProgramStatus

LARGEST_CHARGE = 2**63 - 1


class ProgramChanges(TypedDict, total=False):
    """What can be changed of a program; `config` in draft only."""

    description: str
    config: Mapping[str, Any]
    credits_per_execution: int | None
    group: Group | None


@verb(program_policy, "create")
def create_program(
    *,
    actor: User,
    name: str,
    description: str = "",
    config: Mapping[str, Any] | None = None,
    credits_per_execution: int | None = None,
    group: Group | None = None,
    modules: Sequence[ModuleInput] = (),
    connections: Sequence[ConnectionSpec] = (),
) -> Program:
    """Version 1 of a program, in draft, with its modules and connections.

    Raises `Forbidden`, `Invalid` (`name_invalid`, `config_invalid`, `unknown_group`, what `add_module` and
    `add_connection` raise, with the path of the field) and `Conflict` (`program_exists`: make a new version).
    """
    program_policy.check(actor, "create")
    check_name(name)
    program = Program(name=name)
    if not program_policy.reaches(actor, "create", program):
        raise token_restricted()
    _apply(
        program,
        {
            "description": description,
            "config": config or {},
            "credits_per_execution": credits_per_execution,
            "group": group,
        },
        actor=actor,
    )
    taken = Conflict("program_exists", _("There is a program of this name: make a new version of it."), field="name")
    if Program.objects.filter(name=name).exists():
        raise taken
    with transaction.atomic():
        try:
            with transaction.atomic():
                save_with_history(program, actor=actor, reason="create")
        except IntegrityError:
            raise taken from None
        for position, module in enumerate(modules):
            save_new_module(program, module, actor=actor, path=f"modules.{position}.")
        for position, connection in enumerate(connections):
            save_new_connection(program, connection, actor=actor, path=f"connections.{position}.")
    return program


@verb(program_policy, "change")
def update_program(*, actor: User, program: Program, **changes: Unpack[ProgramChanges]) -> Program:
    """Change a program: its config in draft, the rest in any state.

    Raises `Forbidden`, `NotFound`, `Invalid` (as `create_program`) and `Conflict` (`program_frozen`).
    """
    program_policy.check(actor, "change", program)
    with transaction.atomic():
        current = locked(program)
        if "config" in changes and changes["config"] != current.config and current.status != ProgramStatus.DRAFT:
            raise program_frozen()
        _apply(current, changes, actor=actor)
        save_with_history(current, actor=actor, reason="update", update_fields=changes.keys())
    return current


@verb(program_policy, "new_version")
def new_version(*, actor: User, program: Program) -> Program:
    """The next version of a program, in draft: its config, modules, connections and active prompt versions copied.

    Of two at once both succeed, with different numbers. Raises `Forbidden` and `NotFound`.
    """
    program_policy.check(actor, "new_version", program)
    with transaction.atomic():
        versions = {row.pk: row for row in locked_versions(program.name)}
        source = versions.get(program.pk)
        if source is None:
            raise program_not_found()
        created = Program(
            name=source.name,
            version=max(row.version for row in versions.values()) + 1,
            description=source.description,
            config=source.config,
            credits_per_execution=source.credits_per_execution,
            group_id=source.group_id,
        )
        save_with_history(created, actor=actor, reason="new_version")
        _copy_content(source, created, actor=actor)
    return created


@verb(program_policy, "delete")
def delete_program(*, actor: User, program: Program) -> None:
    """Delete a draft that nothing refers to. Raises `Forbidden`, `NotFound` and `Conflict` (`program_in_use`)."""
    program_policy.check(actor, "delete", program)
    with transaction.atomic():
        current = locked(program, to_delete=True)
        if current.status != ProgramStatus.DRAFT:
            raise program_in_use()
        try:
            delete_with_history([current], actor=actor, reason="delete")
        except ProtectedError:
            raise program_in_use() from None


def _apply(program: Program, changes: ProgramChanges, *, actor: User) -> None:
    check_text(changes.get("description", ""), "description")
    charge = changes.get("credits_per_execution")
    if charge is not None and not 0 <= charge <= LARGEST_CHARGE:
        raise Invalid("credits_invalid", _("A charge is not negative."), field="credits_per_execution")
    if "config" in changes:
        changes["config"] = check_program_config(changes["config"])
    if "group" in changes and changes["group"] != program.group:
        check_group(actor, changes["group"])
    for name, value in changes.items():
        setattr(program, name, value)


def _copy_content(source: Program, target: Program, *, actor: User) -> None:
    copies: dict[Any, Module] = {}
    for module in source.modules.all():
        copies[module.pk] = save_with_history(
            Module(
                program=target,
                key=module.key,
                kind=module.kind,
                signature_id=module.signature_id,
                config=module.config,
                position=module.position,
                language_model_id=module.language_model_id,
            ),
            actor=actor,
            reason="new_version",
        )
    for connection in source.connections.all():
        save_with_history(
            ModuleConnection(
                program=target,
                from_module=copies.get(connection.from_module_id),
                from_field=connection.from_field,
                to_module=copies.get(connection.to_module_id),
                to_field=connection.to_field,
            ),
            actor=actor,
            reason="new_version",
        )
    for prompt in PromptVersion.objects.filter(module__program=source, traffic_percentage__gt=0):
        save_prompt_version(
            PromptVersion(
                module=copies[prompt.module_id],
                version=prompt.version,
                prompt_template=prompt.prompt_template,
                demos=prompt.demos,
                traffic_percentage=prompt.traffic_percentage,
                source_kind=prompt.source_kind,
                source_id=prompt.source_id,
            ),
            actor=actor,
            reason="new_version",
        )


revertible(
    Program,
    ("description", "config", "credits_per_execution", "group"),
    lambda actor, row, changes: update_program(actor=actor, program=row, **changes),
)
