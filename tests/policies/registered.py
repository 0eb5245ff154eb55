"""The services, policies and verbs of all apps, every module of them imported."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

from mlops.policies import Policy
from mlops.verbs import Verb, all_verbs
from tests.sources import APPS

_APPS = tuple(app for app in APPS if app != "config")


def services() -> list[Callable[..., Any]]:
    """Every public function of the services of an app, where it is defined."""
    found: list[Callable[..., Any]] = []
    for app in _APPS:
        package = importlib.import_module(f"{app}.services")
        names = [info.name for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
        for module in map(importlib.import_module, names):
            functions = inspect.getmembers(module, inspect.isfunction)
            found += [it for name, it in functions if not name.startswith("_") and it.__module__ == module.__name__]
    return found


def policies() -> list[Policy]:
    """Every policy; two may share a name, such as the right to evaluate a program."""
    modules = [importlib.import_module(f"{app}.policies") for app in _APPS]
    named = [value for module in modules for value in vars(module).values() if isinstance(value, Policy)]
    return list(dict.fromkeys(named))


def verbs() -> list[Verb]:
    """Every verb: importing all services has registered it."""
    services()
    return all_verbs()
