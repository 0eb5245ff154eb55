"""The base of every REST collection: scoped, paged, with ETags; writes are one service call each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import GenericViewSet

from mlops.api.etags import etag_of, require_match
from mlops.api.schema import RecordSchema
from mlops.models import User
from mlops.selectors import not_found
from mlops.services.locking import locked
from mlops.verbs import verb_of


class RecordViewSet(ListModelMixin, RetrieveModelMixin, GenericViewSet[Any]):
    """List and detail of what the actor may see; with `Creates`, `Updates` and `Deletes` for the writes.

    `queryset` names the model and what its lists join; `serializer_class` reads a row, `list_serializer_class` a row
    of a list if that differs. Per action, `verbs` names the service that it calls, `writes` the serializer of the
    body, and `answers` that of the answer where it is not the row; `makes` are the actions that make a row.
    """

    schema = RecordSchema()
    lookup_value_regex = "[0-9a-f-]{36}"
    list_serializer_class: ClassVar[type[BaseSerializer[Any]] | None] = None
    verbs: ClassVar[Mapping[str, Callable[..., Any]]] = {}
    writes: ClassVar[Mapping[str, type[BaseSerializer[Any]]]] = {}
    answers: ClassVar[Mapping[str, type[BaseSerializer[Any]]]] = {}
    makes: ClassVar[tuple[str, ...]] = ()
    ordering_fields: ClassVar[tuple[str, ...]] = ()

    @property
    def actor(self) -> User:
        actor: User = self.request.user  # type: ignore[assignment]  # IsAuthenticated stands before every action
        return actor

    @property
    def right(self) -> str | None:
        """What this request asks of the row of its address: to view it; None where a service asks for its own right."""
        return "view" if self.request.method in SAFE_METHODS else None

    def get_queryset(self) -> QuerySet[Any]:
        rows: Any = super().get_queryset()
        find = rows.known_to if self.right is None else rows.visible_to
        scoped: QuerySet[Any] = find(self.request.user)
        return self.in_list(scoped) if self.action == "list" else scoped

    def in_list(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Hook: leave heavy columns out of lists."""
        return rows

    def get_serializer_class(self) -> type[BaseSerializer[Any]]:
        if self.action == "list" and self.list_serializer_class is not None:
            return self.list_serializer_class
        return self.answers.get(self.action) or super().get_serializer_class()

    def write_serializer_class(self) -> type[BaseSerializer[Any]] | None:
        return self.writes.get(self.action)

    def get_object(self) -> Any:
        """The row of the address. Raises `NotFound` for what is missing, malformed or not theirs alike."""
        rows = self.filter_queryset(self.get_queryset())
        try:
            return rows.get(pk=UUID(self.kwargs["pk"]))
        except (ValueError, rows.model.DoesNotExist):
            raise not_found(rows.model) from None

    def arguments(self, row: Any = None) -> dict[str, Any]:
        """The validated body of the present action. Whoever lacks the right hears that first, whatever they sent; on
        which rows they have it is for the service to say."""
        if self.action in self.verbs:
            asked = verb_of(self.verbs[self.action])
            asked.policy.check(self.actor, asked.action)
        serializer = self.writes[self.action](
            row, data=self.request.data, partial=self.action == "partial_update", context=self.get_serializer_context()
        )
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)

    def answer(self, row: Any, status: int = 200, **headers: str) -> Response:
        """`row` as it is read, with its ETag."""
        if hasattr(row, "updated_at"):
            headers["ETag"] = etag_of(row)
        return Response(self.get_serializer(row).data, status=status, headers=headers)

    def answer_made(self, row: Any, address: str = "") -> Response:
        """A new row: 201 with its address, in this collection unless another is given."""
        found = self.request.build_absolute_uri(address or self.reverse_action("detail", args=[row.pk]))
        return self.answer(row, 201, Location=found)

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return self.answer(self.get_object())


class Creates(RecordViewSet):
    """POST on the collection: 201 with the row, `Location` and `ETag`."""

    makes: ClassVar[tuple[str, ...]] = ("create",)

    def perform_create(self, fields: dict[str, Any]) -> Any:
        """Hook: one service call that returns the new row."""
        raise NotImplementedError  # each subclass says which service it calls

    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return self.answer_made(self.perform_create(self.arguments()))


class Updates(RecordViewSet):
    """PATCH on a row, under `If-Match`."""

    def perform_update(self, row: Any, fields: dict[str, Any]) -> Any:
        """Hook: one service call that returns the changed row."""
        raise NotImplementedError  # each subclass says which service it calls

    def partial_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        row = self.get_object()
        fields = self.arguments(row)
        with transaction.atomic():
            require_match(request, locked(row))
            row = self.perform_update(row, fields)
        return self.answer(row)


class Deletes(RecordViewSet):
    """DELETE of a row, under `If-Match`: 204."""

    def perform_destroy(self, row: Any) -> None:
        """Hook: one service call."""
        raise NotImplementedError  # each subclass says which service it calls

    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        row = self.get_object()
        with transaction.atomic():
            require_match(request, locked(row))
            self.perform_destroy(row)
        return Response(status=204)
