"""`/users/`: accounts, and one's own under `/users/me/`."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from mlops.api.credits import CreditEntrySerializer, CreditsSerializer, ledger_key
from mlops.api.history import Reverts
from mlops.api.serializers import RecordSerializer, credits_field
from mlops.api.viewsets import Creates, Updates
from mlops.filters import UserFilter
from mlops.models import User
from mlops.services.credits import grant_credits, refund_credits
from mlops.services.users import anonymise_user, create_user, deactivate_user, update_user


class UserSerializer(RecordSerializer):
    credits = credits_field(source="ml_credits", read_only=True)

    class Meta:
        model = User
        fields: tuple[str, ...] = (
            "id",
            "username",
            "email",
            "first_name",
            "last_name",
            "role",
            "time_zone",
            "credits",
            "has_hard_limit",
            "rate_limit",
            "is_active",
            "created_at",
            "updated_at",
        )


class UpdateUserSerializer(RecordSerializer):
    class Meta:
        model = User
        fields: tuple[str, ...] = (
            "email",
            "first_name",
            "last_name",
            "role",
            "time_zone",
            "has_hard_limit",
            "rate_limit",
        )


class CreateUserSerializer(UpdateUserSerializer):
    # Whether it is free is for the service to say, under the same code at every edge.
    username = serializers.CharField(max_length=150)
    password = serializers.CharField(max_length=128, required=False, write_only=True)

    class Meta(UpdateUserSerializer.Meta):
        fields: tuple[str, ...] = (*UpdateUserSerializer.Meta.fields, "username", "password")


class UserViewSet(Creates, Updates, Reverts):
    """Accounts. Admins see all of them, others their own."""

    queryset = User.objects.all()
    serializer_class = UserSerializer
    filterset_class = UserFilter
    search_fields = ("username", "email")
    ordering_fields = ("username",)
    verbs = {
        "create": create_user,
        "partial_update": update_user,
        "grant_credits": grant_credits,
        "refund_credits": refund_credits,
        "deactivate": deactivate_user,
        "anonymise": anonymise_user,
    }
    writes = {
        "create": CreateUserSerializer,
        "partial_update": UpdateUserSerializer,
        "grant_credits": CreditsSerializer,
        "refund_credits": CreditsSerializer,
    }
    answers = {"grant_credits": CreditEntrySerializer, "refund_credits": CreditEntrySerializer}

    def perform_create(self, fields: dict[str, Any]) -> User:
        return create_user(actor=self.actor, **fields)

    def perform_update(self, row: User, fields: dict[str, Any]) -> User:
        return update_user(actor=self.actor, user=row, fields=fields)

    @action(detail=False, methods=["get"], filter_backends=[], pagination_class=None)
    def me(self, request: Request) -> Response:
        """Who is asking."""
        return self.answer(User.objects.visible_to(self.actor).get(pk=self.actor.pk))

    @extend_schema(  # type: ignore[untyped-decorator]  # drf-spectacular has no types
        parameters=[OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER)]
    )
    @action(detail=True, methods=["post"])
    def grant_credits(self, request: Request, pk: str) -> Response:
        """Give credits; the same `Idempotency-Key` gives them once."""
        user = self.get_object()
        fields = self.arguments()
        line = grant_credits(
            actor=self.actor,
            user=user,
            amount=fields["credits"],
            key=ledger_key("grant", self.actor, request),
            note=fields["note"],
        )
        return self.answer(line)

    @extend_schema(  # type: ignore[untyped-decorator]  # drf-spectacular has no types
        parameters=[OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER)]
    )
    @action(detail=True, methods=["post"])
    def refund_credits(self, request: Request, pk: str) -> Response:
        """Give back what was charged wrongly; the same `Idempotency-Key` gives it back once."""
        user = self.get_object()
        fields = self.arguments()
        line = refund_credits(
            actor=self.actor,
            user=user,
            amount=fields["credits"],
            key=ledger_key("refund", self.actor, request),
            note=fields["note"],
        )
        return self.answer(line)

    @action(detail=True, methods=["post"])
    def deactivate(self, request: Request, pk: str) -> Response:
        """Close the account: no login, no token; its rows stay."""
        return self.answer(deactivate_user(actor=self.actor, user=self.get_object()))

    @action(detail=True, methods=["post"])
    def anonymise(self, request: Request, pk: str) -> Response:
        """Deactivate the account and forget the person."""
        return self.answer(anonymise_user(actor=self.actor, user=self.get_object()))
