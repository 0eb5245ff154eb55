"""Refusals that several rooms of this app raise, with their codes."""

from __future__ import annotations

from django.utils.translation import gettext as _

from mlops.errors import Conflict, NotFound


def program_not_found() -> NotFound:
    return NotFound("program_not_found", _("There is no such program."))


def signature_not_found() -> NotFound:
    return NotFound("signature_not_found", _("There is no such signature."))


def program_frozen() -> Conflict:
    return Conflict(
        "program_frozen", _("The content of a program is frozen once it has left draft: make a new version.")
    )


def signature_frozen() -> Conflict:
    return Conflict(
        "signature_frozen", _("The signature is used by a program that has left draft: make a new version.")
    )


def program_in_use() -> Conflict:
    return Conflict("program_in_use", _("Only drafts that nothing refers to can be deleted."))


def signature_in_use() -> Conflict:
    return Conflict("signature_in_use", _("The signature is used by a program."))
