"""JSON that comes in: read strictly, and all of it storable."""

from __future__ import annotations

import json
from typing import Any

from django.utils.translation import gettext as _

from mlops.errors import Invalid
from mlops.sanitiser import refuse_unstorable


def parse_json(raw: bytes) -> Any:
    """The JSON value in `raw`, all of it storable.

    Raises `Invalid`: `not_utf8`, `malformed_json`, `duplicate_key`, `not_a_number`, `unstorable_text`, `too_deep`.
    """
    try:
        value = json.loads(raw.decode(), parse_constant=_refuse_constant, object_pairs_hook=_object)
    except UnicodeDecodeError:
        raise Invalid("not_utf8", _("The body is not UTF-8.")) from None
    except RecursionError:
        raise Invalid("too_deep", _("The body is nested too deeply.")) from None
    except ValueError as error:
        # JSONDecodeError, and whole numbers of more digits than Python converts
        position = getattr(error, "pos", 0)
        message = _("The body is not JSON (at character %(position)d).") % {"position": position}
        raise Invalid("malformed_json", message) from None
    refuse_unstorable(value)
    return value


def _refuse_constant(constant: str) -> Any:
    raise Invalid("not_a_number", _("NaN and infinities are not allowed."))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _value in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Invalid("duplicate_key", _("A member is given twice."), field=twice)
    return members
