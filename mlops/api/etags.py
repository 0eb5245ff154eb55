"""`ETag` and `If-Match`: nobody overwrites what they have not seen."""

from __future__ import annotations

from typing import Any

from django.utils.http import parse_etags
from django.utils.translation import gettext as _
from rest_framework.request import Request

from mlops.errors import Stale


def etag_of(row: Any) -> str:
    """The strong ETag of an editable row: it changes with `updated_at`."""
    return f'"{row.pk.hex}-{int(row.updated_at.timestamp() * 1_000_000):x}"'


def require_match(request: Request, row: Any) -> None:
    """Raise `Stale` (`row_changed`) when `If-Match` names another state than that of `row`."""
    header = request.headers.get("If-Match")
    if header is None:
        return
    wanted = parse_etags(header)
    if wanted != ["*"] and etag_of(row) not in wanted:
        raise Stale("row_changed", _("Somebody has changed this since you read it."))
