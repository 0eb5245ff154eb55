"""What higher apps add to a lower app's admin page: buttons and panels, registered in `AppConfig.ready()`.

links.add_button("programs.program", "compile_program", button(...))
links.add_panel("programs.program", Panel("executions", _("Executions"), render_executions))
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.http import HttpRequest
from django.utils.functional import Promise
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _


@dataclass(frozen=True, slots=True)
class Panel:
    """A titled part below the form of a row. `render` may return nothing for rows or people it is not for.

    `name` is where an address leads: a form of the panel comes back to it with the fragment `#panel-<name>`.
    """

    name: str
    title: str | Promise
    render: Callable[[HttpRequest, Any], SafeString | None]
    is_last: bool = False
    """Whether it stands below those that are registered later."""


@dataclass(frozen=True, slots=True)
class Menu:
    """A place in the head of a page that several buttons share."""

    name: str
    title: str | Promise = field(compare=False)  # its words depend on who reads them


IMPROVE = Menu("improve", _("Improve"))

_buttons: dict[str, dict[str, Callable[..., Any]]] = defaultdict(dict)
_menus: dict[str, dict[Menu, list[str]]] = defaultdict(dict)
_panels: dict[str, list[Panel]] = defaultdict(list)


def add_button(model: str, name: str, button: Callable[..., Any], *, menu: Menu | None = None) -> None:
    """Add a button made by `mlops.admin.buttons.button` to the pages of `model` (`app_label.model_name`).

    Buttons of one `menu` share a place in the head of the page, which has room for about seven.
    """
    _buttons[model.lower()][name] = button
    if menu is not None:
        names = _menus[model.lower()].setdefault(menu, [])
        names.extend([name] if name not in names else [])


def add_panel(model: str, panel: Panel) -> None:
    if panel not in _panels[model.lower()]:
        _panels[model.lower()].append(panel)


def buttons_of(model: str) -> Mapping[str, Callable[..., Any]]:
    return _buttons.get(model, {})


def menus_of(model: str) -> Mapping[Menu, list[str]]:
    return _menus.get(model, {})


def panels_of(model: str) -> list[Panel]:
    return sorted(_panels.get(model, []), key=lambda panel: panel.is_last)
