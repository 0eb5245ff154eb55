"""Values as texts, and texts as they are compared."""

from __future__ import annotations

import json
import re
import string
import unicodedata
from collections import Counter
from decimal import Context, Decimal, InvalidOperation
from typing import Any

MAX_SHOWN = 500
"""Characters of a value that feedback repeats."""

_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NUMBER = re.compile(
    r"(?<![\w.])[-+]?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d{1,3})?", re.ASCII
)
_MINUS = str.maketrans({"\N{MINUS SIGN}": "-", "\N{NON-BREAKING HYPHEN}": "-"})
_SWAPPED = str.maketrans(",.", ".,")
_WIDE = Context(prec=60, Emax=999_999_999, Emin=-999_999_999)


def text_of(value: Any) -> str:
    """A text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)


def shown(value: Any) -> str:
    """`value` as feedback repeats it: texts in quotes, long ones cut."""
    text = repr(value) if isinstance(value, str) else text_of(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}... ({len(text)} characters)"


def normalised(text: str, *, drop_articles: bool = True) -> str:
    """The normal form in which SQuAD compares answers, after Unicode NFKC.

    Lower case, without punctuation, without the articles a, an and the, with single spaces, in this order: function
    `normalize_answer` of the evaluation script of SQuAD 1.1 and 2.0 (Rajpurkar et al. 2016, 2018). Beyond the script,
    punctuation is also that of other scripts (Unicode categories P), and case is folded (`casefold`).
    """
    bare = unicodedata.normalize("NFKC", text).casefold().translate(_ASCII_PUNCTUATION)
    if not bare.isascii():
        bare = "".join(sign for sign in bare if not unicodedata.category(sign).startswith("P"))
    return " ".join((_ARTICLES.sub(" ", bare) if drop_articles else bare).split())


def folded(text: str) -> str:
    """NFKC, case folded, with single spaces: what `contains` compares unless case counts."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def token_f1(expected: str, given: str) -> tuple[float, float, float]:
    """F1, precision and recall of the tokens of two normalised texts, as SQuAD 2.0 counts them.

    When one of them has no tokens, all three are 1 if the other has none either, else 0.
    """
    wanted, found = Counter(expected.split()), Counter(given.split())
    if not wanted or not found:
        agreed = float(wanted == found)
        return agreed, agreed, agreed
    common = (wanted & found).total()
    if common == 0:
        return 0.0, 0.0, 0.0
    precision, recall = common / found.total(), common / wanted.total()
    return 2 * precision * recall / (precision + recall), precision, recall


def number_in(value: Any, *, decimal_comma: bool = False) -> Decimal | None:
    """The number that `value` is, or the last one in its text; None when there is none.

    The last number of a text is what GSM8K's answers are compared by. Thousands separators are understood, a sign
    counts only where no word or digit stands before it ("3-4" ends in 4), truth values are no numbers.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    text = unicodedata.normalize("NFKC", str(value)).translate(_MINUS)
    if decimal_comma and isinstance(value, str):
        text = text.translate(_SWAPPED)
    found = _NUMBER.findall(text)
    try:
        return _WIDE.create_decimal(found[-1].replace(",", "")) if found else None
    except InvalidOperation:
        return None


def agree(expected: Decimal, given: Decimal, *, absolute: float, relative: float) -> bool:
    """Whether two numbers differ by at most `absolute`, or by at most `relative` times the expected one."""
    if expected == given:
        return True
    allowed = max(_WIDE.create_decimal_from_float(absolute), _times(abs(expected), relative))
    return _WIDE.abs(_WIDE.subtract(expected, given)) <= allowed


def _times(number: Decimal, factor: float) -> Decimal:
    return _WIDE.multiply(number, _WIDE.create_decimal_from_float(factor))
