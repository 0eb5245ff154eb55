import pytest

from mlops.errors import Invalid
from mlops.money import as_decimal, from_decimal

MICRO = 10**6


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0"), (1, "0.000001"), (-1, "-0.000001"), (1_500_000, "1.5"), (10**18, "1000000000000"), (-2_000_000, "-2")],
)
def test_there_and_back(amount: int, text: str) -> None:
    assert as_decimal(amount, MICRO) == text
    assert from_decimal(text, MICRO) == amount


@pytest.mark.parametrize("text", ["", "x", "NaN", "Infinity", "1e30", "1e999999999", "1" * 41, "1,5", "0x10"])
def test_what_is_no_decimal_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refusal:
        from_decimal(text, MICRO, field="credits")

    assert (refusal.value.code, refusal.value.field) == ("decimal_invalid", "credits")


def test_nothing_is_rounded_away() -> None:
    with pytest.raises(Invalid) as refusal:
        from_decimal("0.0000001", MICRO)

    assert refusal.value.code == "decimal_too_precise"
