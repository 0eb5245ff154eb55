"""The encoder of JSON: what Python holds comes back as it was, whatever its size and spelling."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.encoding import encoded
from mlops.errors import Invalid
from mlops.sanitiser import problem_in, refuse_unstorable, replace_unstorable

LONGEST = 2**14_284 - 1
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(VALUES, st.booleans())
def test_json_comes_back_as_it_was(value: Any, is_sorted: bool) -> None:
    assert json.loads(encoded(value, is_sorted=is_sorted)) == value


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, 10**25, LONGEST])
def test_integers_keep_all_of_their_digits(value: int) -> None:
    assert json.loads(encoded({"rows": [{"n": value}, 1]})) == {"rows": [{"n": value}, 1]}


def test_what_orjson_knows_stays_known_beside_a_large_integer() -> None:
    key, at = uuid.uuid4(), datetime(2026, 1, 2, tzinfo=UTC)
    row = {"id": key, "at": at, "share": float("nan"), 3: "three"}
    beside = json.loads(encoded({**row, "n": 2**64, 2**64: "key"}))
    plain = json.loads(orjson.dumps(row, option=orjson.OPT_NON_STR_KEYS))
    assert beside == {**plain, "n": 2**64, str(2**64): "key"}
    assert beside["share"] is None


def test_text_that_is_not_unicode_is_replaced() -> None:
    assert json.loads(encoded({"a\ud800": ["b\udfff"]})) == {
        "a\N{REPLACEMENT CHARACTER}": ["b\N{REPLACEMENT CHARACTER}"]
    }


def test_sorted_json_is_the_same_for_the_same_members() -> None:
    assert encoded({"b": 2**70, "a": {"d": 1, "c": 2}}, is_sorted=True) == (b'{"a":{"c":2,"d":1},"b":%d}' % 2**70)


def test_what_is_no_json_is_refused_unless_the_caller_knows_better() -> None:
    with pytest.raises(TypeError):
        encoded({"n": 2**64, "price": Decimal("1.5")})
    assert encoded([2**64, Decimal("1.5")], default=str) == b'[%d,"1.5"]' % 2**64


def test_an_integer_that_nobody_could_read_again_is_kept_out_of_rows() -> None:
    assert json.loads(encoded([2**64, LONGEST + 1])) == [2**64, None]
    with pytest.raises(Invalid) as refusal:
        refuse_unstorable({"deep": [LONGEST + 1]}, "data")
    assert (refusal.value.code, refusal.value.field) == ("number_too_large", "data.deep.0")
    assert problem_in(LONGEST) is None
    assert replace_unstorable({"n": [LONGEST + 1, True, 5]}) == ({"n": [None, True, 5]}, True)
