"""What higher apps add to a lower app's admin page: buttons and panels, registered in `AppConfig.ready()`.

links.add_button("programs.program", "compile_program", button(...))
links.add_panel("programs.program", Panel(_("Executions"), render_executions))
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.utils.functional import Promise
from django.utils.safestring import SafeString


@dataclass(frozen=True, slots=True)
class Panel:
    """A titled part below the form of a row. `render` may return nothing for rows or people it is not for."""

    title: str | Promise
    render: Callable[[HttpRequest, Any], SafeString | None]


_buttons: dict[str, dict[str, Callable[..., Any]]] = defaultdict(dict)
_panels: dict[str, list[Panel]] = defaultdict(list)


def add_button(model: str, name: str, button: Callable[..., Any]) -> None:
    """Add a button made by `mlops.admin.buttons.button` to the pages of `model` (`app_label.model_name`)."""
    _buttons[model.lower()][name] = button


def add_panel(model: str, panel: Panel) -> None:
    if panel not in _panels[model.lower()]:
        _panels[model.lower()].append(panel)


def buttons_of(model: str) -> Mapping[str, Callable[..., Any]]:
    return _buttons.get(model, {})


def panels_of(model: str) -> list[Panel]:
    return _panels.get(model, [])
