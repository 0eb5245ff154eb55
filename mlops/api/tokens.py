"""`/tokens/`: one's own bearer tokens."""

from __future__ import annotations

from typing import Any, ClassVar

from django_filters import rest_framework as filters
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from mlops.api.serializers import RecordSerializer
from mlops.api.viewsets import Creates
from mlops.models import ApiToken
from mlops.services.tokens import create_token, revoke_token


class ApiTokenSerializer(RecordSerializer):
    class Meta:
        model = ApiToken
        fields: tuple[str, ...] = (
            "id",
            "user",
            "name",
            "prefix",
            "expires_at",
            "revoked_at",
            "last_used_at",
            "created_at",
            "updated_at",
        )


class NewApiTokenSerializer(ApiTokenSerializer):
    token = serializers.CharField(read_only=True, help_text="Shown this once: only its digest is kept.")

    class Meta(ApiTokenSerializer.Meta):
        fields: tuple[str, ...] = (*ApiTokenSerializer.Meta.fields, "token")


class CreateApiTokenSerializer(RecordSerializer):
    class Meta:
        model = ApiToken
        fields: tuple[str, ...] = ("name", "expires_at")


class ApiTokenFilter(filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    user = filters.UUIDFilter(field_name="user_id")

    class Meta:
        model = ApiToken
        fields: ClassVar[list[str]] = ["user", "prefix"]


class ApiTokenViewSet(Creates):
    """Bearer tokens. Everybody makes and revokes their own; admins see and revoke all."""

    queryset = ApiToken.objects.all()
    serializer_class = ApiTokenSerializer
    filterset_class = ApiTokenFilter
    writes = {"create": CreateApiTokenSerializer}
    answers = {"create": NewApiTokenSerializer}

    def perform_create(self, fields: dict[str, Any]) -> ApiToken:
        row, raw = create_token(actor=self.actor, user=self.actor, **fields)
        row.token = raw  # type: ignore[attr-defined]  # for this one answer, never stored
        return row

    @action(detail=True, methods=["post"])
    def revoke(self, request: Request, pk: str) -> Response:
        """Make the token useless for ever."""
        return self.answer(revoke_token(actor=self.actor, token=self.get_object()))
