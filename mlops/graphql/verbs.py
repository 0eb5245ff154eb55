"""Mutations: one per verb, made of the service, the inputs that it takes and the records that it returns.

    deploy_program = VerbMutation(
        services.deploy_program,
        gives={"program": ProgramType},
        takes={"program": Reference(access_program), "reason": graphene.String()},
    )

Each takes one `input` and returns what it `gives` with `errors`. Inputs have the names of the service's arguments; a
`Reference` is an id that becomes a row which the actor may see. What the mutation does is what the service's docstring
says.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import graphene
from django.db.models import Model
from graphene.types.inputobjecttype import InputObjectTypeContainer

from mlops.errors import NotFound
from mlops.graphql.errors import UserError, domain_error_of, user_errors
from mlops.graphql.peers import together
from mlops.graphql.records import actor_of
from mlops.selectors import access
from mlops.verbs import verb_of


@dataclass(frozen=True, slots=True)
class Reference:
    """An input that names a row, or `many` of them: whatever `access(actor=, ref=)` understands."""

    access: Callable[..., Any]
    required: bool = True
    many: bool = False
    description: str = "An id, or a reference as over REST."

    @property
    def input(self) -> Any:
        if self.many:
            return graphene.List(graphene.NonNull(graphene.ID), required=self.required, description=self.description)
        return graphene.ID(required=self.required, description=self.description)

    def row_of(self, actor: Any, given: Any, path: str) -> Any:
        """The row or rows that `given` names. Raises `NotFound` at `path`."""
        if given is None:
            return None
        if self.many:
            return [self._row(actor, one, f"{path}.{position}") for position, one in enumerate(given)]
        return self._row(actor, given, path)

    def _row(self, actor: Any, given: str, path: str) -> Any:
        try:
            return self.access(actor=actor, ref=given)
        except NotFound as error:
            raise NotFound(error.code, error.message, field=path) from None


def by_id(model: type[Model], *, required: bool = True, many: bool = False) -> Reference:
    """A reference to a row of `model` by its id alone; the verb asks for the right to do what it does."""
    return Reference(lambda *, actor, ref: access(model, actor=actor, id=ref), required, many, "Its id.")


class VerbMutation(graphene.Field):  # type: ignore[misc]  # graphene has no types
    """The mutation of a verb; see the module.

    `perform(actor=, **arguments)` stands in for the service where the inputs need another shape than its arguments
    have, and calls it. What is returned is the first of `gives`, or a mapping of all of them. An input of null is left
    out, unless `clears` names it: there null is a value, which takes away what there was.
    """

    def __init__(
        self,
        service: Callable[..., Any],
        *,
        gives: Mapping[str, Any],
        takes: Mapping[str, Any],
        clears: Collection[str] = (),
        perform: Callable[..., Any] | None = None,
    ) -> None:
        self.verb = verb_of(service)
        self.takes = takes
        self._clears = frozenset(clears)
        self._gives = tuple(gives)
        self._perform = perform or service
        title = "".join(part.capitalize() for part in self.verb.name.split("_"))
        self._payload = _payload(f"{title}Payload", gives)
        super().__init__(
            self._payload,
            input=_input(f"{title}Input", takes)(required=True),
            required=True,
            description=_description(service),
            resolver=self._resolve,
        )

    def _resolve(self, root: Any, info: Any, input: Mapping[str, Any]) -> Any:
        try:
            return self._payload(**self._done(actor_of(info), input), errors=[])
        except Exception as error:
            refusal = domain_error_of(error)
            if refusal is None:
                raise
            return self._payload(errors=user_errors(refusal.problems))

    def _done(self, actor: Any, input: Mapping[str, Any]) -> dict[str, Any]:
        self.verb.policy.check(actor, self.verb.action)  # whoever lacks the right hears that first, whatever they sent
        told = self._perform(actor=actor, **self._arguments(actor, input))
        given = told if isinstance(told, dict) else {self._gives[0]: told} if self._gives else {}
        return {name: _alone(value) for name, value in given.items()}

    def _arguments(self, actor: Any, input: Mapping[str, Any]) -> dict[str, Any]:
        arguments = {}
        for name, value in input.items():
            if value is None and name not in self._clears:
                continue
            kind = self.takes[name]
            arguments[name] = kind.row_of(actor, value, name) if isinstance(kind, Reference) else _given(value)
        return arguments


def _given(value: Any) -> Any:
    """What was sent, without the nulls of its input objects; in JSON a null is a value."""
    if isinstance(value, InputObjectTypeContainer):
        return {name: _given(one) for name, one in value.items() if one is not None}
    return [_given(one) for one in value] if isinstance(value, list) else value


def _description(service: Callable[..., Any]) -> str:
    """Raises `TypeError` for a service that says nothing of what it does."""
    described = (inspect.getdoc(service) or "").partition("\n\n")[0].replace("\n", " ")
    if not described:
        raise TypeError(f"{service.__name__} says nothing of what it does.")
    return described


def _input(name: str, takes: Mapping[str, Any]) -> Any:
    """An input type without fields is none, so a verb without arguments takes an empty note."""
    fields = {field: one.input if isinstance(one, Reference) else one for field, one in takes.items()}
    return type(name, (graphene.InputObjectType,), fields or {"client_mutation_id": graphene.String()})


def _payload(name: str, gives: Mapping[str, Any]) -> Any:
    fields = {
        field: kind if isinstance(kind, graphene.Field | graphene.Scalar | graphene.List) else graphene.Field(kind)
        for field, kind in gives.items()
    }
    errors = graphene.List(graphene.NonNull(UserError), required=True)
    return type(name, (graphene.ObjectType,), {**fields, "errors": errors})


def _alone(value: Any) -> Any:
    """A row that was just written stands in no list."""
    return together([value]).rows[0] if isinstance(value, Model) else value
