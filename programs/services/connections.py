"""Verbs of connections."""

from __future__ import annotations

import re

from django.db import transaction
from django.utils.translation import gettext as _

from mlops.errors import Conflict, Invalid
from mlops.models import User
from mlops.services.history import delete_with_history, save_with_history
from mlops.services.locking import locked
from mlops.verbs import verb
from programs.models import Module, ModuleConnection, Program
from programs.policies import program_policy
from programs.services.checks import locked_draft, touch
from programs.types import FIELD_NAME_PATTERN, ConnectionSpec


@verb(program_policy, "change")
def add_connection(*, actor: User, program: Program, connection: ConnectionSpec) -> ModuleConnection:
    """Connect two fields of a draft; modules are named by key, an empty key is the program's own boundary.

    Whether the fields exist and fit is said by `validate_program`. Raises `Forbidden`, `NotFound`, `Invalid`
    (`unknown_module`, `connection_to_itself`, `name_invalid`) and `Conflict` (`program_frozen`, `connection_exists`).
    """
    program_policy.check(actor, "change", program)
    with transaction.atomic():
        current = locked_draft(program)
        added = save_new_connection(current, connection, actor=actor)
        touch(current, actor=actor, reason="add_connection")
    return added


@verb(program_policy, "change")
def remove_connection(*, actor: User, connection: ModuleConnection) -> None:
    """Remove a connection of a draft. Raises `Forbidden`, `NotFound` and `Conflict` (`program_frozen`)."""
    program_policy.check(actor, "change", connection.program)
    with transaction.atomic():
        current = locked(connection)
        program = locked_draft(connection.program)
        delete_with_history([current], actor=actor, reason="remove")
        touch(program, actor=actor, reason="remove_connection")


def save_new_connection(
    program: Program, connection: ConnectionSpec, *, actor: User, path: str = ""
) -> ModuleConnection:
    """Check and save a connection of a program that the caller has locked."""
    modules: dict[str, Module] = {module.key: module for module in program.modules.all()}
    for side in ("from_field", "to_field"):
        if not re.fullmatch(FIELD_NAME_PATTERN, getattr(connection, side)):
            raise Invalid("name_invalid", _("This is not the name of a field."), field=f"{path}{side}")
    row = ModuleConnection(
        program=program,
        from_module=_named(modules, connection.from_module, f"{path}from_module"),
        from_field=connection.from_field,
        to_module=_named(modules, connection.to_module, f"{path}to_module"),
        to_field=connection.to_field,
    )
    if connection.from_module == connection.to_module:
        raise Invalid("connection_to_itself", _("A connection leads to another module."), field=f"{path}to_module")
    if program.connections.filter(to_module=row.to_module, to_field=row.to_field).exists():
        raise Conflict("connection_exists", _("The field has a source already."), field=f"{path}to_field")
    return save_with_history(row, actor=actor, reason="add")


def _named(modules: dict[str, Module], key: str, field: str) -> Module | None:
    if key and key not in modules:
        raise Invalid("unknown_module", _("The program has no module of this key."), field=field)
    return modules.get(key)
