"""The timeline of a program over REST."""

from __future__ import annotations

import base64
import json
from typing import Any

from django.utils.translation import gettext as _
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from mlops.api.pagination import page_size_of
from mlops.errors import Invalid
from mlops.moments import moment_of
from mlops.policies import history_policy
from mlops.selectors.keysets import MAX_CURSOR
from programs.models import Program
from programs.selectors import Event, timeline
from programs.selectors.timeline import Key


class EventSerializer(serializers.Serializer[Any]):
    """`kind`: edit, deployment, roll_back or optimization. `changed` names what an edit changed; `record` and
    `record_id` lead to the row, `state` to its history."""

    id = serializers.CharField()
    time = serializers.DateTimeField()
    kind = serializers.CharField()
    verb = serializers.CharField()
    record = serializers.CharField()
    record_id = serializers.UUIDField()
    title = serializers.CharField()
    version = serializers.IntegerField(allow_null=True)
    user = serializers.CharField(allow_null=True)
    source = serializers.CharField()  # type: ignore[assignment]  # a field of ours
    request_id = serializers.CharField()
    changed = serializers.ListField(child=serializers.CharField(), source="fields")
    note = serializers.CharField()
    state = serializers.IntegerField(allow_null=True)
    result = serializers.CharField()


class TimelineSerializer(serializers.Serializer[Any]):
    next = serializers.CharField(allow_null=True, help_text="Address of what happened before.")
    results = EventSerializer(many=True)


def timeline_response(request: Request, actor: Any, program: Program) -> Response:
    """A page of the timeline, under the right to read histories."""
    history_policy.check(actor, "view", program)
    size = page_size_of(request, 50)
    cursor = request.query_params.get("cursor")
    before = _decoded(cursor) if cursor else None
    events = timeline(actor=actor, program=program, before=before, size=size + 1)
    shown = events[:size]
    address = request.build_absolute_uri()
    following = replace_query_param(address, "cursor", _encoded(shown[-1])) if len(events) > size else None
    return Response({"next": following, "results": EventSerializer(shown, many=True).data})


def _encoded(event: Event) -> str:
    raw = json.dumps([event.time.isoformat(), event.id]).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decoded(cursor: str) -> Key:
    """Raises `Invalid` (`cursor_invalid`)."""
    try:
        raw = base64.urlsafe_b64decode(cursor[:MAX_CURSOR].encode() + b"=" * (-len(cursor) % 4))
        time, event = json.loads(raw)
        return moment_of(time), str(event)
    except (ValueError, TypeError, RecursionError):
        raise Invalid("cursor_invalid", _("The cursor belongs to no such list."), field="cursor") from None
