"""How long texts look in a row of a list."""

from __future__ import annotations

SHOWN = 120
"""Characters of a text in a row of a list."""


def beginning(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
