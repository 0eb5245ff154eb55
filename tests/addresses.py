"""Every address that the site answers, read from its URL resolver, and every operation of the API, from its schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.contrib.admindocs.views import extract_views_from_urlpatterns, simplify_regex
from django.urls import get_resolver
from drf_spectacular.generators import SchemaGenerator

NOBODYS_ID = "0192d3a4-0000-7000-8000-000000000000"
METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path of the API, with the names of its query parameters."""

    method: str
    path: str
    parameters: tuple[str, ...]

    def address(self, part: str = NOBODYS_ID) -> str:
        return filled(self.path.replace("{state}", "1"), part)


def filled(path: str, part: str = NOBODYS_ID) -> str:
    """`path` with `part` in the place of each of its variables."""
    return re.sub(r"<[^>]+>|\{[^}]+\}", lambda _match: part, path)


@cache
def all_paths() -> tuple[str, ...]:
    """Paths in the form `/admin/programs/program/<object_id>/change/`, of the whole site."""
    found = extract_views_from_urlpatterns(get_resolver().url_patterns)
    return tuple(sorted({_readable(str(regex)) for _view, regex, *_names in found}))


def _readable(regex: str) -> str:
    path = simplify_regex(regex)
    return path.replace("\\.", ".").replace("\\Z", "").replace("<format>", "json")


@cache
def operations() -> tuple[Operation, ...]:
    schema = SchemaGenerator().get_schema(public=True)
    return tuple(_operations_of(schema["paths"]))


def _operations_of(paths: dict[str, Any]) -> Iterator[Operation]:
    for path, methods in paths.items():
        for method in METHODS:
            if method in methods:
                declared = methods[method].get("parameters", [])
                yield Operation(method, path, tuple(item["name"] for item in declared if item["in"] == "query"))
