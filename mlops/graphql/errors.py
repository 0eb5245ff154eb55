"""Every refusal of GraphQL: one mapper from an exception to a code, a message and a field."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import graphene
from django.db import InterfaceError, OperationalError
from django.utils.translation import gettext as _
from graphene.utils.str_converters import to_camel_case
from graphql import GraphQLError

from mlops.errors import DomainError, Problem, Unavailable

logger = logging.getLogger(__name__)


class UserError(graphene.ObjectType):  # type: ignore[misc]  # graphene has no types
    """One thing that is wrong with what was sent."""

    code = graphene.String(required=True, description="Never changes; docs/errors.md lists them.")
    message = graphene.String(required=True, description="For people.")
    field = graphene.String(required=True, description="Dotted path into the input; empty where it is no field's.")


def user_errors(problems: Sequence[Problem]) -> list[UserError]:
    return [UserError(code=one.code, message=one.message, field=in_camel_case(one.field)) for one in problems]


def in_camel_case(path: str) -> str:
    """The path of a field as the caller spelled it: `modules.0.language_model` is their `modules.0.languageModel`."""
    return ".".join(to_camel_case(part) for part in path.split("."))


def domain_error_of(error: BaseException) -> DomainError | None:
    """The refusal that `error` stands for; None for what nobody foresaw."""
    if isinstance(error, DomainError):
        return error
    if isinstance(error, OperationalError | InterfaceError):
        return Unavailable("database_unavailable", _("The database does not answer."))
    return None


def as_graphql_error(refusal: DomainError) -> GraphQLError:
    """A refusal of all of an operation."""
    return GraphQLError(refusal.message, extensions={"code": refusal.code})


def formatted(error: GraphQLError) -> dict[str, Any]:
    """An entry of `errors`, its code among the extensions; the unforeseen is logged and told without details."""
    cause = error.original_error
    if cause is None or isinstance(cause, GraphQLError):
        described: dict[str, Any] = dict(error.formatted)
        described["extensions"] = {"code": "graphql_invalid", **(error.extensions or {})}
        return described
    refusal = domain_error_of(cause)
    if refusal is None:
        logger.error("unexpected error", exc_info=cause)
        message, extensions = _("Something went wrong on our side."), {"code": "internal_error"}
    else:
        message, extensions = refusal.message, {**refusal.extra, "code": refusal.code}
    told: dict[str, Any] = {"message": message, "extensions": extensions}
    if error.path is not None:
        told["path"] = error.path
    if error.locations is not None:
        told["locations"] = [place.formatted for place in error.locations]
    return told
