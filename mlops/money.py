"""Money at the edges: whole numbers inside, decimal strings outside, nothing rounded on the way."""

from __future__ import annotations

import re

from django.utils.translation import gettext as _

from mlops.errors import Invalid

_DECIMAL = re.compile(r"(?P<sign>[+-]?)(?P<whole>[0-9]{1,19})(?:\.(?P<places>[0-9]{0,20}))?")
MAX = 2**63 - 1
"""The largest whole number that a column keeps."""


def as_decimal(amount: int, scale: int) -> str:
    """`amount` of 1/scale units as a plain decimal string: `as_decimal(1_500_000, 10**6) == "1.5"`."""
    sign = "-" if amount < 0 else ""
    whole, rest = divmod(abs(amount), scale)
    digits = f"{rest:0{_places(scale)}d}".rstrip("0")
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"


def from_decimal(text: str | int, scale: int, *, field: str = "") -> int:
    """The whole number of 1/scale units that `text` says; `scale` is a power of ten.

    Raises `Invalid` (`decimal_invalid`, `decimal_too_precise`).
    """
    found = _DECIMAL.fullmatch(str(text).strip())
    if found is None:
        raise _decimal_invalid(field)
    kept, lost = _split(found["places"] or "", _places(scale))
    if lost:
        raise Invalid("decimal_too_precise", _("More decimal places than are kept."), field=field)
    amount = int(found["whole"]) * scale + int(kept or "0")
    if amount > MAX:
        raise _decimal_invalid(field)
    return -amount if found["sign"] == "-" else amount


def _places(scale: int) -> int:
    return len(str(scale)) - 1


def _split(digits: str, places: int) -> tuple[str, str]:
    """The digits that are kept, filled up, and what would be lost."""
    return digits[:places].ljust(places, "0"), digits[places:].rstrip("0")


def _decimal_invalid(field: str) -> Invalid:
    return Invalid("decimal_invalid", _('Not a decimal number such as "1.25".'), field=field)
