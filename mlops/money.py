"""Money at the edges: whole numbers inside, decimal strings outside, nothing rounded on the way."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation, localcontext

from django.utils.translation import gettext as _

from mlops.errors import Invalid


def as_decimal(amount: int, scale: int) -> str:
    """`amount` of 1/scale units as a plain decimal string: `as_decimal(1_500_000, 10**6) == "1.5"`."""
    sign = "-" if amount < 0 else ""
    whole, rest = divmod(abs(amount), scale)
    digits = f"{rest:0{len(str(scale)) - 1}d}".rstrip("0")
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"


def from_decimal(text: str | int, scale: int, *, field: str = "") -> int:
    """The whole number of 1/scale units that `text` says.

    Raises `Invalid` (`decimal_invalid`, `decimal_too_precise`).
    """
    try:
        with localcontext(prec=60):
            value = Decimal(text) * scale
            whole = int(value)
    except (InvalidOperation, ValueError, OverflowError):
        raise Invalid("decimal_invalid", _('Not a decimal number such as "1.25".'), field=field) from None
    if len(str(text)) > 40 or abs(whole) >= 2**63:
        raise Invalid("decimal_invalid", _('Not a decimal number such as "1.25".'), field=field)
    if whole != value:
        raise Invalid("decimal_too_precise", _("More decimal places than are kept."), field=field)
    return whole
