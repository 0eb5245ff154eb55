"""How the demonstration writes: a line per fact, indented below the step that it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from mlops.money import as_decimal
from mlops.types import MICRO_PER_CREDIT, PICO_PER_USD

MAX_SHOWN = 100


class Output(Protocol):
    """Where lines are written, such as the `stdout` of a command."""

    def write(self, text: str, /) -> object: ...


class DemoFailed(Exception):
    """A step did not do what it says; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Page:
    """What is written so far ends here; the rest is appended."""

    stdout: Output

    def title(self, text: str) -> None:
        write(self.stdout, text)

    def line(self, text: str) -> None:
        write(self.stdout, f"   {text}")


def write(stdout: Output, line: str) -> None:
    stdout.write(f"{line}\n")


def short(text: str) -> str:
    flat = " ".join(str(text).split())
    return flat if len(flat) <= MAX_SHOWN else f"{flat[:MAX_SHOWN]}..."


def pairs(output: Mapping[str, Any] | None) -> str:
    """The fields of an output on one line."""
    return ", ".join(f"{name}={value}" for name, value in (output or {}).items())


def in_credits(amount: int) -> str:
    return as_decimal(amount, MICRO_PER_CREDIT)


def in_usd(cost: int | None) -> str:
    return "unknown" if cost is None else f"{as_decimal(cost, PICO_PER_USD)} USD"
