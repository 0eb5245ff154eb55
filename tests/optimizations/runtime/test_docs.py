"""docs/optimizers.md says what the code has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from optimizations.runtime.params import NOT_OFFERED, json_schema_of_params
from optimizations.types import OptimizerName

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "optimizers.md").read_text()


def values(described: dict[str, Any]) -> str:
    """The values that a parameter may have, in words."""
    return "; ".join(_values(kind) for kind in described.get("anyOf", [described]))


def _values(kind: dict[str, Any]) -> str:
    if "enum" in kind:
        return ", ".join(kind["enum"])
    word = {"integer": "whole number", "number": "number", "boolean": "true, false", "null": "null"}[kind["type"]]
    if "maximum" not in kind:
        return word
    low = f"{kind['minimum']:,g}" if "minimum" in kind else f"above {kind['exclusiveMinimum']:g}"
    return f"{word}, {low} to {kind['maximum']:,}"


def table(optimizer: OptimizerName) -> str:
    rows = [
        f"| `{name}` | {values(described)} | {json.dumps(described['default'])} | {described['description']} |"
        for name, described in json_schema_of_params(optimizer)["properties"].items()
    ]
    return "\n".join(["| parameter | values | default | |", "|---|---|---|---|", *rows])


@pytest.mark.parametrize("optimizer", OptimizerName)
def test_every_parameter_stands_in_the_table_of_its_optimizer(optimizer: OptimizerName) -> None:
    section = PAGE.partition(f"\n## {optimizer.value}\n")[2].partition("\n## ")[0]
    assert table(optimizer) in section


def test_what_is_not_offered_stands_there_with_its_reason() -> None:
    for name, reason in NOT_OFFERED.items():
        assert f"| `{name}` | {reason[0].upper()}{reason[1:]} |" in PAGE
