"""Every way in, read from the code: REST addresses, admin pages, tasks and commands, each with the verbs that it calls.

A way in that is neither mapped to a verb, nor a read in the scope of `visible_to`, nor listed with a reason has no
verbs and no reason, and a test says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.core.management import get_commands
from django.http import HttpRequest
from django.urls import URLPattern, URLResolver, get_resolver
from graphene.utils.str_converters import to_camel_case

from config.celery import app as celery_app
from config.graphql import Mutation, Query, Subscription
from mlops.admin.base import ReadOnlyInline, ServiceAdmin
from mlops.api.history import Remembers
from tests.policies import listed
from tests.sources import APPS

READ = "reads rows in the scope of visible_to"
FOLLOWS = "reads rows in the scope of visible_to, asked again with every event and while it lasts"
PAST = "reads the history of one row in the scope of visible_to, under the right to view histories"
DELETED = "reads last states in the scope of deletions_known_to, under the right to view histories"
OFF = "switched off: nobody may"
UNSAFE = ("POST", "PATCH", "PUT", "DELETE")


@dataclass(frozen=True, slots=True)
class Edge:
    """A way in. `verbs` are what it calls; without any, `reason` says why it needs none."""

    kind: str
    name: str
    verbs: tuple[str, ...] = ()
    reason: str = ""


def all_edges() -> list[Edge]:
    return [*rest_edges(), *graphql_edges(), *admin_edges(), *task_edges(), *command_edges()]


def rest_edges() -> list[Edge]:
    """One per method and address; where two views answer the same address, the one that does."""
    found: dict[str, Edge] = {}
    for address, pattern in addresses(get_resolver().url_patterns):
        if address.startswith("/admin"):
            continue
        for method, edge in _of_pattern(address, pattern):
            found.setdefault(f"{method} {address}", edge)
    return list(found.values())


def addresses(patterns: Any, prefix: str = "/") -> Iterator[tuple[str, URLPattern]]:
    """Every address below `patterns`, with the pattern that answers it."""
    for pattern in patterns:
        address = prefix + _plain(str(pattern.pattern))
        if isinstance(pattern, URLResolver):
            yield from addresses(pattern.url_patterns, address)
        else:
            yield address, pattern


def _plain(route: str) -> str:
    """`^programs/(?P<pk>[a-z]{1,9})/$` and `programs/<str:pk>/` alike as `programs/{pk}/`."""
    named = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", re.sub(r"\(\?P<(\w+)>(?:[^()]|\([^()]*\))*\)", r"{\1}", route))
    return named.removeprefix("^").removesuffix("$")


def _of_pattern(address: str, pattern: URLPattern) -> Iterator[tuple[str, Edge]]:
    for method, action in _methods(address, pattern):
        name = f"{method} {address}"
        yield (
            method,
            Edge("REST", name, _verbs_of(pattern, name, action), listed.REST.get(name) or _read(pattern, action)),
        )


def _methods(address: str, pattern: URLPattern) -> list[tuple[str, str]]:
    """Method and action of each thing that an address answers; plain views say neither, so their names are listed."""
    actions: dict[str, str] | None = getattr(pattern.callback, "actions", None)
    if actions is not None:
        return [(method.upper(), action) for method, action in actions.items() if method != "head"]
    return [(method, "") for method in listed.PLAIN_VIEWS.get(pattern.name or address, "ANY").split()]


def _verbs_of(pattern: URLPattern, name: str, action: str) -> tuple[str, ...]:
    for view in getattr(getattr(pattern.callback, "cls", None), "__mro__", ()):
        if called := vars(view).get("verbs", {}).get(action):
            return (called.__name__, *listed.REST_VERBS.get(name, ()))
    return listed.REST_VERBS.get(name, ())


def _read(pattern: URLPattern, action: str) -> str:
    if action in ("list", "retrieve"):
        return READ
    if action == Remembers.deleted.__name__:
        return DELETED
    is_past = action in vars(Remembers) and issubclass(getattr(pattern.callback, "cls", object), Remembers)
    return PAST if is_past else ""


def graphql_edges() -> list[Edge]:
    """One per field of the root types, as `mutation deployProgram`."""
    queries = [Edge("GraphQL", f"query {to_camel_case(name)}", reason=READ) for name in Query._meta.fields]
    mutations = [
        Edge("GraphQL", f"mutation {to_camel_case(name)}", (field.verb.name,))
        for name, field in Mutation._meta.fields.items()
    ]
    subscriptions = [
        Edge("GraphQL", f"subscription {to_camel_case(name)}", reason=FOLLOWS) for name in Subscription._meta.fields
    ]
    return [*queries, *mutations, *subscriptions]


def admin_edges() -> list[Edge]:
    """Of each model its pages, buttons, bulk actions and inlines, as `programs.program deploy`; then the site's own."""
    models = [edge for model, page in admin.site._registry.items() for edge in _of_page(model, page)]
    return [*models, *_of_site()]


def _of_page(model: Any, page: Any) -> Iterator[Edge]:
    label = model._meta.label_lower
    assert isinstance(page, ServiceAdmin), f"{label} is no ServiceAdmin"
    switched = {"add": page.add_action, "change": page.change_action, "delete": page.delete_action}
    for name in _names_of(page):
        key = f"{label} {name}"
        reason = listed.ADMIN.get(key, "")
        if name in ("changelist", "history", "simple_history"):
            reason = READ
        elif name == "deleted":
            reason = DELETED
        elif name in switched and switched[name] is None:
            reason = OFF
        yield Edge("admin", key, listed.ADMIN_VERBS.get(key, ()), reason)


def _names_of(page: Any) -> list[str]:
    """Of its addresses, its bulk actions and the children that can be edited on it."""
    meta = page.model._meta
    addresses = [pattern.name for pattern in page.get_urls() if pattern.name]
    names = [name.removeprefix(f"{meta.app_label}_{meta.model_name}_") for name in addresses]
    actions = [f"action {_name_of(action)}" for action in page.actions or ()]
    children = [
        child for child in page.get_inlines(HttpRequest(), page.model()) if not issubclass(child, ReadOnlyInline)
    ]
    return [*names, *actions, *(f"inline {child.model._meta.model_name}" for child in children)]


def _name_of(action: Any) -> str:
    return action if isinstance(action, str) else str(action.__name__)


def _of_site() -> Iterator[Edge]:
    models = {model._meta.app_label for model in admin.site._registry}
    for pattern in admin.site.get_urls():
        route = _plain(str(pattern.pattern))
        if route.partition("/")[0] in models:
            continue
        name = getattr(pattern, "name", None) or route
        yield Edge("admin", name, listed.ADMIN_VERBS.get(name, ()), listed.ADMIN.get(name, ""))


def task_edges() -> list[Edge]:
    celery_app.loader.import_default_modules()
    names = sorted(name for name in celery_app.tasks if not name.startswith(("celery.", "tests.")))
    return [Edge("task", name, listed.TASK_VERBS.get(name, ()), listed.TASKS.get(name, "")) for name in names]


def command_edges() -> list[Edge]:
    names = sorted(name for name, app in get_commands().items() if app in APPS)
    return [Edge("command", name, listed.COMMAND_VERBS.get(name, ()), listed.COMMANDS.get(name, "")) for name in names]
