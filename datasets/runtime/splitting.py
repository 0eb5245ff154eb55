"""Cutting a dataset into parts: by content and seed alone, so that neither the order of the rows nor the machine
matters, and one content never stands in two parts."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Item(Generic[Row]):
    """A row that goes into one of the parts. Rows of equal `content` go together."""

    row: Row
    content: str
    stratum: str = ""


def stratum_of(data: Mapping[str, Any], field: str) -> str:
    """The name of the group that an example belongs to: its value of `field`; without one, a group of its own."""
    return json.dumps(data[field], sort_keys=True) if data.get(field) is not None else ""


def split(items: Iterable[Item[Row]], fractions: Mapping[str, float], seed: int) -> dict[str, list[Row]]:
    """The rows of each part, shuffled by content and `seed`.

    Every stratum is cut by largest remainder, and what rounding left over in one is made up for in the next: parts
    have their share of the whole within one row, and of each stratum within two, as far as duplicates allow.
    """
    strata: dict[str, dict[str, list[Row]]] = defaultdict(dict)
    for item in items:
        strata[item.stratum].setdefault(item.content, []).append(item.row)
    parts: dict[str, list[tuple[bytes, list[Row]]]] = {name: [] for name in fractions}
    owed = dict.fromkeys(fractions, 0.0)
    for name in sorted(strata, key=lambda name: _draw(seed, name)):
        groups = [(_draw(seed, content), rows) for content, rows in strata[name].items()]
        _cut(groups, fractions, owed, parts)
    return {name: [row for _draw, rows in sorted(drawn, key=_by_draw) for row in rows] for name, drawn in parts.items()}


def _cut(
    groups: list[tuple[bytes, list[Row]]],
    fractions: Mapping[str, float],
    owed: dict[str, float],
    parts: dict[str, list[tuple[bytes, list[Row]]]],
) -> None:
    """Deal out one stratum; `owed` is what each part is still due, and changes."""
    size = sum(len(rows) for _draw, rows in groups)
    due = {name: owed[name] + size * fraction for name, fraction in fractions.items()}
    room = largest_remainder({name: max(share, 0.0) for name, share in due.items()}, size)
    # The largest groups first, while there is room for them; then by the draw.
    for group in sorted(groups, key=lambda group: (-len(group[1]), group[0])):
        name = max(room, key=lambda name: room[name])
        parts[name].append(group)
        room[name] -= len(group[1])
        due[name] -= len(group[1])
    owed.update(due)


def largest_remainder(shares: Mapping[str, float], total: int) -> dict[str, int]:
    """Whole numbers that add up to `total`, each its share of it rounded down or up; ties in the order given."""
    scale = total / (sum(shares.values()) or 1.0)
    exact = {name: share * scale for name, share in shares.items()}
    whole = {name: int(share + 1e-9) for name, share in exact.items()}
    for name in sorted(exact, key=lambda name: whole[name] - exact[name])[: total - sum(whole.values())]:
        whole[name] += 1
    return whole


def _draw(seed: int, content: str) -> bytes:
    return hashlib.sha256(f"{seed}:{content}".encode()).digest()


def _by_draw(group: tuple[bytes, Sequence[Any]]) -> bytes:
    return group[0]
