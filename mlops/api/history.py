"""What a record was, over REST: its states, how it was at a time, what differs, and the way back."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from mlops.api.filters import refuse_unknown_parameters
from mlops.api.pagination import KeysetPagination
from mlops.api.serializers import StrictSerializer
from mlops.api.viewsets import RecordViewSet
from mlops.errors import Invalid, NotFound
from mlops.models.history import SOURCE_CHOICES
from mlops.moments import moment_of
from mlops.policies import history_policy
from mlops.selectors import history as past
from mlops.services.reverting import revert

CHANGES = {"+": "created", "~": "changed", "-": "deleted"}
PATH, QUERY = OpenApiParameter.PATH, OpenApiParameter.QUERY
NUMBER = "[0-9]{1,18}"
STATE = OpenApiParameter("state", int, PATH)


class FieldChangeSerializer(serializers.Serializer[Any]):
    """`old` is null for a column that was empty."""

    field = serializers.CharField()
    old = serializers.JSONField(allow_null=True)
    new = serializers.JSONField(allow_null=True)


class StateSerializer(serializers.Serializer[Any]):
    """A state of a record. `verb` is what was asked for, `user` whose doing it was (null: a command)."""

    state = serializers.IntegerField(source="history_id")
    time = serializers.DateTimeField(source="history_date")
    change = serializers.SerializerMethodField()
    verb = serializers.CharField(source="history_change_reason")
    user = serializers.CharField(source="history_user.username", default=None, allow_null=True)
    source = serializers.ChoiceField(SOURCE_CHOICES, source="history_source")  # type: ignore[assignment]  # a field of ours
    request_id = serializers.CharField(source="history_request_id")

    def get_change(self, state: Any) -> str:
        return CHANGES[state.history_type]


class StateChangeSerializer(StateSerializer):
    """A state with what it changed of the one before."""

    changes = FieldChangeSerializer(many=True)


class WholeStateSerializer(StateSerializer):
    """A state with all that it says of the record: foreign keys as ids, money as the integers that are stored."""

    values = serializers.DictField()


class DeletionSerializer(WholeStateSerializer):
    """The last state of a record that has been deleted; `id` leads to the states before."""

    id = serializers.CharField()


class DifferenceSerializer(serializers.Serializer[Any]):
    older = StateSerializer()
    newer = StateSerializer()
    changes = FieldChangeSerializer(many=True)


class Remembers(RecordViewSet):
    """`history/` of a record, also of one that has been deleted, for those who engineer."""

    @extend_schema(responses=DeletionSerializer(many=True))  # type: ignore[untyped-decorator]  # as below
    @action(detail=False, url_path="history/deleted", filter_backends=[])
    def deleted(self, request: Request) -> Response:
        """What has been deleted, the latest first, each with who did it and what it was."""
        history_policy.check(self.actor, "view")
        refuse_unknown_parameters(request, KeysetPagination.parameters)
        states = self.paginate_queryset(past.deletions(self._model, self.actor))
        return self.get_paginated_response(DeletionSerializer(map(_told, states or []), many=True).data)

    @extend_schema(responses=StateChangeSerializer(many=True))  # type: ignore[untyped-decorator]  # drf-spectacular has no types
    @action(detail=True, filter_backends=[])
    def history(self, request: Request, pk: str) -> Response:
        """Its states, the newest first, each with who made it, through which edge, and what it changed."""
        refuse_unknown_parameters(request, KeysetPagination.parameters)
        states = self.paginate_queryset(past.history_of(self._remembered()))
        changed = [_with_changes(state, changes) for state, changes in past.with_changes(states or [])]
        return self.get_paginated_response(StateChangeSerializer(changed, many=True).data)

    @extend_schema(  # type: ignore[untyped-decorator]  # drf-spectacular has no types
        parameters=[OpenApiParameter("time", datetime, QUERY, required=True)], responses=WholeStateSerializer
    )
    @action(detail=True, url_path="history/as-of", filter_backends=[], pagination_class=None)
    def as_of(self, request: Request, pk: str) -> Response:
        """How it was at a time."""
        return _whole(past.state_at(self._remembered(), _time(request)))

    @extend_schema(  # type: ignore[untyped-decorator]  # drf-spectacular has no types
        parameters=[OpenApiParameter(name, int, QUERY, required=True) for name in ("older", "newer")],
        responses=DifferenceSerializer,
    )
    @action(detail=True, url_path="history/difference", filter_backends=[], pagination_class=None)
    def difference(self, request: Request, pk: str) -> Response:
        """What differs between two of its states."""
        row = self._remembered()
        numbers = [_number(request, name) for name in ("older", "newer")]
        older, newer = (past.state_of(row, number) for number in numbers)
        content = {"older": older, "newer": newer, "changes": past.difference(older, newer)}
        return Response(DifferenceSerializer(content).data)

    @extend_schema(parameters=[STATE], responses=WholeStateSerializer)  # type: ignore[untyped-decorator]  # drf-spectacular has no types
    @action(detail=True, url_path=f"history/(?P<state>{NUMBER})", filter_backends=[], pagination_class=None)
    def state(self, request: Request, pk: str, state: str) -> Response:
        """One of its states, whole."""
        return _whole(past.state_of(self._remembered(), int(state)))

    @property
    def _model(self) -> Any:
        view: Any = self
        return view.queryset.model

    def _remembered(self) -> Any:
        try:
            row = self.get_object()
        except NotFound:
            row = past.deleted_record(self._model, self.kwargs["pk"], self.actor)
            if row is None:
                raise
        history_policy.check(self.actor, "view", row)
        return row


class Reverts(Remembers):
    """A record that can be put back to an earlier state."""

    verbs = {"revert": revert}

    @extend_schema(request=None, parameters=[STATE])  # type: ignore[untyped-decorator]  # drf-spectacular has no types
    @action(
        detail=True,
        methods=["post"],
        url_path=f"history/(?P<state>{NUMBER})/revert",
        filter_backends=[],
        pagination_class=None,
    )
    def revert(self, request: Request, pk: str, state: str) -> Response:
        """Make it what it was in that state, as far as it can be changed: a new change, under the same rules."""
        row = self.get_object()
        history_policy.check(self.actor, "revert", row)
        StrictSerializer(data=request.data).is_valid(raise_exception=True)
        return self.answer(revert(actor=self.actor, row=row, state=int(state)))


def _with_changes(state: Any, changes: list[past.FieldChange]) -> Any:
    state.changes = changes
    return state


def _whole(state: Any) -> Response:
    return Response(WholeStateSerializer(_told(state)).data)


def _told(state: Any) -> Any:
    state.values = past.values_of(state)
    return state


def _time(request: Request) -> datetime:
    """The query parameter `time`, an ISO 8601 date and time with its zone. Raises `Invalid` (`time_invalid`)."""
    try:
        return moment_of(request.query_params.get("time", ""))
    except ValueError:
        raise Invalid("time_invalid", _("A time such as 2026-01-31T12:00:00Z."), field="time") from None


def _number(request: Request, name: str) -> int:
    """The number of a state. Raises `Invalid` (`state_invalid`)."""
    told = request.query_params.get(name, "")
    if not (told.isascii() and told.isdigit() and len(told) <= 18):
        raise Invalid("state_invalid", _("The number of a state, as the history lists it."), field=name)
    return int(told)
