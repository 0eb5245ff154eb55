"""A case: a verb with all that is needed to ask for it, at whatever edge."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from django.db.models import Model

from tests.policies.people import World


@dataclass(frozen=True)
class Case:
    """`arguments` are the service's, besides the actor. `row` is what addresses name, `body` (or `query`) what REST is
    sent, `form` what is changed of an admin form before it is sent back."""

    arguments: Mapping[str, Any]
    row: Model | None = None
    body: Mapping[str, Any] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)
    form: Mapping[str, Any] = field(default_factory=dict)
    address: Mapping[str, Any] = field(default_factory=dict)
    page: Model | None = None
    """The row whose admin page has the button or the inline, where that is another one."""


Arrange: TypeAlias = Callable[[World], Case]

_cases: dict[str, Arrange] = {}


def case(verb: str) -> Callable[[Arrange], Arrange]:
    """The function below makes ready what `verb` is asked with."""

    def register(arrange: Arrange) -> Arrange:
        _cases[verb] = arrange
        return arrange

    return register


def all_cases() -> dict[str, Arrange]:
    package = importlib.import_module("tests.policies.cases")
    for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(info.name)
    return _cases
