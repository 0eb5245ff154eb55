"""`/tokens/`: one's own bearer tokens."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from mlops.api.serializers import RecordSerializer, StrictSerializer
from mlops.api.viewsets import Creates
from mlops.filters import ApiTokenFilter
from mlops.models import ApiToken
from mlops.services.token_limits import MAX_OVERLAP, MAX_PROGRAMS, MAX_RATE_LIMIT
from mlops.services.tokens import OVERLAP, create_token, revoke_token, rotate_token
from mlops.types import Scope

SCOPES = [scope.value for scope in Scope]


class ApiTokenSerializer(RecordSerializer):
    scopes = serializers.ListField(child=serializers.ChoiceField(SCOPES), read_only=True)
    programs = serializers.ListField(
        child=serializers.CharField(), read_only=True, help_text="Names; an empty list means all programs."
    )

    class Meta:
        model = ApiToken
        fields: tuple[str, ...] = (
            "id",
            "user",
            "name",
            "prefix",
            "scopes",
            "programs",
            "rate_limit",
            "expires_at",
            "revoked_at",
            "last_used_at",
            "replaced_by",
            "made_by",
            "created_at",
            "updated_at",
        )


class NewApiTokenSerializer(ApiTokenSerializer):
    token = serializers.CharField(read_only=True, help_text="Shown this once: only its digest is kept.")

    class Meta(ApiTokenSerializer.Meta):
        fields: tuple[str, ...] = (*ApiTokenSerializer.Meta.fields, "token")


class CreateApiTokenSerializer(RecordSerializer):
    # Which names and numbers are right is for the service to say, under the same codes at every edge.
    scopes = serializers.ListField(
        child=serializers.CharField(max_length=20), required=False, max_length=20, help_text=f"Of {', '.join(SCOPES)}."
    )
    programs = serializers.ListField(
        child=serializers.CharField(max_length=63), required=False, max_length=MAX_PROGRAMS, help_text="Names."
    )
    rate_limit = serializers.IntegerField(
        required=False, allow_null=True, help_text=f"Requests per minute, 1 to {MAX_RATE_LIMIT}."
    )

    class Meta:
        model = ApiToken
        fields: tuple[str, ...] = ("name", "scopes", "programs", "rate_limit", "expires_at")


class RotateApiTokenSerializer(StrictSerializer):
    overlap_s = serializers.IntegerField(
        default=int(OVERLAP.total_seconds()),
        min_value=0,
        max_value=int(MAX_OVERLAP.total_seconds()),
        help_text="Seconds for which the old token stays usable.",
    )


class ApiTokenViewSet(Creates):
    """Bearer tokens. Everybody makes, rotates and revokes their own; admins see and revoke all."""

    queryset = ApiToken.objects.all()
    serializer_class = ApiTokenSerializer
    filterset_class = ApiTokenFilter
    verbs = {"create": create_token, "rotate": rotate_token, "revoke": revoke_token}
    writes = {"create": CreateApiTokenSerializer, "rotate": RotateApiTokenSerializer}
    answers = {"create": NewApiTokenSerializer, "rotate": NewApiTokenSerializer}
    makes = ("create", "rotate")

    def perform_create(self, fields: dict[str, Any]) -> ApiToken:
        return _with_secret(*create_token(actor=self.actor, user=self.actor, **fields))

    @action(detail=True, methods=["post"])
    def rotate(self, request: Request, pk: str) -> Response:
        """Make a token to use instead, of the same name and limits. The old one stays usable for `overlap_s`."""
        token = self.get_object()
        overlap = timedelta(seconds=self.arguments()["overlap_s"])
        return self.answer_made(_with_secret(*rotate_token(actor=self.actor, token=token, overlap=overlap)))

    @action(detail=True, methods=["post"])
    def revoke(self, request: Request, pk: str) -> Response:
        """Make the token useless for ever."""
        return self.answer(revoke_token(actor=self.actor, token=self.get_object()))


def _with_secret(token: ApiToken, raw: str) -> ApiToken:
    """The row with its raw form: for this one answer, never stored."""
    token.token = raw  # type: ignore[attr-defined]
    return token
