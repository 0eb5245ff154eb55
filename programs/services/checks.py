"""What every verb of this app asks before it writes."""

from __future__ import annotations

import re

from django.contrib.auth.models import Group
from django.utils.translation import gettext as _

from mlops.errors import Invalid
from mlops.models import User
from mlops.policies import admins
from mlops.sanitiser import refuse_unstorable
from mlops.services.history import save_with_history
from mlops.services.locking import locked
from programs.errors import program_frozen
from programs.models import Program
from programs.types import FIELD_NAME_PATTERN, NAME_PATTERN, ProgramStatus

MAX_TEXT = 100_000
"""Characters of a description or of instructions."""


def check_name(name: str, field: str = "name") -> None:
    """Raise `Invalid` (`name_invalid`) unless `name` may name a program or a signature."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise Invalid(
            "name_invalid",
            _("A name has lower-case letters, digits, - and _, begins with a letter and has at most 63 characters."),
            field=field,
        )


def check_key(key: str, field: str = "key") -> None:
    """Raise `Invalid` (`name_invalid`) unless `key` may name a module."""
    if not re.fullmatch(FIELD_NAME_PATTERN, key):
        raise Invalid(
            "name_invalid",
            _("A key has lower-case letters, digits and _, begins with a letter and has at most 63 characters."),
            field=field,
        )


def check_text(value: str, field: str) -> None:
    """Raise `Invalid` (`text_too_long` or what the sanitiser says) unless `value` may be stored."""
    refuse_unstorable(value, field)
    if len(value) > MAX_TEXT:
        raise Invalid("text_too_long", _("At most %d characters are allowed.") % MAX_TEXT, field=field)


def check_group(actor: User, group: Group | None) -> None:
    """Raise `Invalid` (`unknown_group`) unless `actor` may limit a program to `group`: admins, and its members."""
    if group is None or admins(actor, None) or actor.groups.filter(pk=group.pk).exists():
        return
    raise Invalid("unknown_group", _("You are not a member of such a group."), field="group")


def locked_draft(program: Program) -> Program:
    """The program, locked. Raises `Conflict` (`program_frozen`) once it has left draft."""
    current = locked(program)
    if current.status != ProgramStatus.DRAFT:
        raise program_frozen()
    return current


def locked_versions(name: str) -> list[Program]:
    """Every version of a name, locked in one order for all, and read again once the locks are held: a version that was
    committed while this transaction waited is among them."""
    versions = Program.objects.filter(name=name).order_by("version").select_for_update()
    list(versions.values_list("pk"))
    return list(versions.all())


def touch(program: Program, *, actor: User, reason: str) -> None:
    """Note on the program that its content has changed: `updated_at` keys what is cached of it."""
    save_with_history(program, actor=actor, reason=reason, update_fields=())
