"""Cutting rows into parts by content and seed: exact shares, whole groups of duplicates, any order of the rows."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from datasets.runtime.splitting import Item, largest_remainder, split, stratum_of

FRACTIONS = {"training": 0.8, "validation": 0.1, "test": 0.1}


def items(count: int, strata: int = 1) -> list[Item[int]]:
    return [Item(row, f"content {row}", f"stratum {row % strata}") for row in range(count)]


def test_parts_have_their_share_and_every_row_is_in_one() -> None:
    parts = split(items(100), FRACTIONS, seed=7)
    assert {name: len(rows) for name, rows in parts.items()} == {"training": 80, "validation": 10, "test": 10}
    assert sorted(row for rows in parts.values() for row in rows) == list(range(100))


def test_the_same_seed_gives_the_same_parts_whatever_the_order_of_rows() -> None:
    shuffled = items(200, 3)
    random.Random(1).shuffle(shuffled)
    assert split(shuffled, FRACTIONS, seed=7) == split(items(200, 3), FRACTIONS, seed=7)
    assert split(items(200, 3), FRACTIONS, seed=8) != split(items(200, 3), FRACTIONS, seed=7)


def test_what_rounding_leaves_in_one_stratum_is_made_up_for_in_the_next() -> None:
    """Thirty strata of three: rounded one by one, all of the small parts would be empty."""
    parts = split(items(90, 30), FRACTIONS, seed=7)
    assert {name: len(rows) for name, rows in parts.items()} == {"training": 72, "validation": 9, "test": 9}


@pytest.mark.parametrize("seed", range(30))
def test_each_stratum_has_its_share(seed: int) -> None:
    draw = random.Random(seed)
    rows = [Item(row, f"content {row}", draw.choice("abcde")) for row in range(draw.randint(30, 400))]
    fractions = draw.choice([FRACTIONS, {"training": 0.7, "test": 0.3}, {"training": 1 / 3, "validation": 2 / 3}])
    parts = split(rows, fractions, seed)
    assert sorted(row for part in parts.values() for row in part) == [item.row for item in rows]
    sizes = Counter(item.stratum for item in rows)
    for name, fraction in fractions.items():
        assert abs(len(parts[name]) - fraction * len(rows)) <= 1
        held = Counter(rows[row].stratum for row in parts[name])
        for stratum, size in sizes.items():
            assert abs(held[stratum] - fraction * size) < 2


@pytest.mark.parametrize("seed", range(30))
def test_rows_of_equal_content_stay_together(seed: int) -> None:
    draw = random.Random(seed)
    rows = [Item(row, f"content {draw.randint(0, 40)}") for row in range(120)]
    parts = split(rows, FRACTIONS, seed)
    homes = {name: {rows[row].content for row in part} for name, part in parts.items()}
    assert not homes["training"] & homes["test"]
    assert not homes["training"] & homes["validation"]
    assert not homes["validation"] & homes["test"]
    assert sum(len(part) for part in parts.values()) == 120
    assert all(homes.values())


def test_one_content_alone_goes_to_one_part() -> None:
    parts = split([Item(row, "the same") for row in range(10)], FRACTIONS, seed=1)
    assert {name: len(rows) for name, rows in parts.items()} == {"training": 10, "validation": 0, "test": 0}


def test_largest_remainders_are_rounded_up() -> None:
    assert largest_remainder({"a": 2.5, "b": 1.3, "c": 1.2}, 5) == {"a": 3, "b": 1, "c": 1}
    assert largest_remainder({"a": 0.4, "b": 0.3, "c": 0.3}, 1) == {"a": 1, "b": 0, "c": 0}
    assert largest_remainder({"a": 0.0, "b": 0.0}, 0) == {"a": 0, "b": 0}


def test_strata_are_values_of_any_type_and_what_is_missing_is_one() -> None:
    values: list[dict[str, Any]] = [
        {"x": 1},
        {"x": "1"},
        {"x": True},
        {"x": {"b": 1, "a": 2}},
        {"x": {"a": 2, "b": 1}},
        {"x": None},
        {},
    ]
    assert [stratum_of(data, "x") for data in values] == [
        "1",
        '"1"',
        "true",
        '{"a": 2, "b": 1}',
        '{"a": 2, "b": 1}',
        "",
        "",
    ]
