"""The register of verbs: which services act for somebody, and the right that each of them asks.

A service that does something for an actor is marked where it is defined:

    @verb(program_policy, "deploy")
    def deploy_program(*, actor: User, program: Program) -> Program: ...

The mark changes nothing about the function: the check stays the first line of its body. The register exists so that
the policies can be proven: docs/policy-matrix.md and tests/policies are made from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from mlops.policies import Policy

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Verb:
    """A service and the right that it asks first: `action` of `policy`."""

    app: str
    name: str
    policy: Policy
    action: str
    function: Callable[..., Any]


_verbs: dict[str, Verb] = {}


def verb(policy: Policy, action: str) -> Callable[[F], F]:
    """Register the service below as a verb that asks `action` of `policy`. Raises `ValueError` for a name taken."""

    def register(function: F) -> F:
        name = function.__name__
        if name in _verbs:
            raise ValueError(f"two verbs are called {name}")
        app = function.__module__.partition(".")[0]
        _verbs[name] = Verb(app, name, policy, action, function)
        return function

    return register


def verb_of(function: Callable[..., Any]) -> Verb:
    """The verb that `function` is registered as. Raises `KeyError` for a function that is none."""
    found = _verbs[function.__name__]
    if found.function is not function:
        raise KeyError(function)
    return found


def all_verbs() -> list[Verb]:
    """Every verb of the services that have been imported, by app and name."""
    return sorted(_verbs.values(), key=lambda verb: (verb.app, verb.name))
