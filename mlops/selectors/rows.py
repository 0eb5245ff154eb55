"""Rows in the scope of an actor."""

from __future__ import annotations

from typing import Any, TypeVar
from uuid import UUID

from django.db import models
from django.utils.translation import gettext as _

from mlops.errors import NotFound
from mlops.querysets import Viewer

M = TypeVar("M", bound=models.Model)


def access(model: type[M], *, actor: Viewer, id: Any) -> M:
    """The row `id` if there is one for `actor`; what they may do with it is for a policy to say.

    Raises `NotFound` for what is missing, malformed or not theirs alike.
    """
    manager: Any = model._default_manager
    try:
        key = id if isinstance(id, UUID) else UUID(str(id))
    except ValueError:
        key = None
    found: M | None = manager.known_to(actor).filter(pk=key).first() if key else None
    if found is None:
        raise not_found(model)
    return found


def not_found(model: type[models.Model]) -> NotFound:
    return NotFound(
        f"{code_name(model)}_not_found", _("There is no such %(kind)s.") % {"kind": model._meta.verbose_name}
    )


def code_name(model: type[models.Model]) -> str:
    """How error codes spell a model: `language_model` for LanguageModel."""
    name = model.__name__
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
