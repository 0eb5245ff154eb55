"""Repricings over REST: see the difference, apply it, watch it, stop it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from executions.filters import CostCorrectionFilter, RepricingFilter, within_the_calendar
from executions.models import CostCorrection, Repricing, RepricingDay
from executions.policies import repricing_policy
from executions.services.repricing import apply_repricing, cancel_repricing, reprice
from mlops.api.documented import ONCE, location_of
from mlops.api.serializers import DecimalStringField, RecordSerializer, StrictSerializer, credits_field
from mlops.api.streams import detail_view, events_view
from mlops.api.viewsets import RecordViewSet
from mlops.models import LanguageModel, User
from mlops.selectors import access
from mlops.types import PICO_PER_USD
from programs.api.arguments import referred

LOCATION = location_of("the repricing")


def usd_field(source: str, **options: Any) -> DecimalStringField:
    """Pico-dollars as a decimal string of dollars."""
    return DecimalStringField(scale=PICO_PER_USD, source=source, read_only=True, **options)


class RepricingRowSerializer(RecordSerializer):
    cost_before_usd = usd_field("cost_before", help_text="Of the executions that change, as far as it was known.")
    cost_after_usd = usd_field("cost_after")
    credits_overcharged = credits_field(read_only=True)
    credits_undercharged = credits_field(read_only=True, help_text="Only told; nobody is charged afterwards.")

    class Meta:
        model = Repricing
        fields: tuple[str, ...] = (
            "id", "state", "revision", "progress", "error_code", "error_message", "since", "until", "language_model",
            "program", "dry_run", "refunds_credits", "preview", "prices_as_of", "looked_at", "changed", "priced",
            "unpriced", "cost_before_usd", "cost_after_usd", "credits_overcharged", "credits_undercharged", "user",
            "cancel_requested_at", "created_at", "started_at", "finished_at",
        )  # fmt: skip
        read_only_fields = fields


class RepricingDaySerializer(RecordSerializer):
    cost_before_usd = usd_field("cost_before")
    cost_after_usd = usd_field("cost_after")

    class Meta:
        model = RepricingDay
        fields: tuple[str, ...] = (
            "day", "language_model", "executions", "priced", "unpriced", "cost_before_usd", "cost_after_usd",
        )  # fmt: skip
        read_only_fields = fields


class RepricingSerializer(RepricingRowSerializer):
    days = RepricingDaySerializer(many=True, read_only=True, help_text="The difference per UTC day and language model.")

    class Meta(RepricingRowSerializer.Meta):
        fields = (*RepricingRowSerializer.Meta.fields, "attempt", "days")
        read_only_fields = fields


class RepriceSerializer(StrictSerializer):
    since = serializers.DateTimeField(validators=[within_the_calendar])
    until = serializers.DateTimeField(validators=[within_the_calendar], help_text="Exclusive.")
    language_model = serializers.UUIDField(required=False, allow_null=True)
    program = serializers.CharField(required=False, max_length=63, help_text="A name: all its versions.")
    refunds_credits = serializers.BooleanField(
        required=False, help_text="Whether applying it gives back what was charged too much."
    )


class CostCorrectionSerializer(RecordSerializer):
    cost_before_usd = usd_field("cost_before", allow_null=True)
    cost_after_usd = usd_field("cost_after", allow_null=True)
    credits_refunded = credits_field(read_only=True)

    class Meta:
        model = CostCorrection
        fields: tuple[str, ...] = (
            "id", "repricing", "execution", "cost_before_usd", "cost_after_usd", "prices_before", "prices_after",
            "credits_refunded",
        )  # fmt: skip
        read_only_fields = fields


class RepricingViewSet(RecordViewSet):
    """Repricings, newest first: what executions of a period would cost by the present prices, and what was changed."""

    queryset = Repricing.objects.all()
    serializer_class = RepricingSerializer
    list_serializer_class = RepricingRowSerializer
    filterset_class = RepricingFilter
    ordering_fields = ("id",)
    verbs = {"create": reprice, "apply": apply_repricing, "cancel": cancel_repricing}
    writes = {"create": RepriceSerializer}

    @extend_schema(request=RepriceSerializer, parameters=[ONCE, LOCATION], responses={202: RepricingSerializer})  # type: ignore[untyped-decorator]  # drf-spectacular has no types
    def create(self, request: Request) -> Response:
        """Find out the difference that today's price book makes for what ran in a period. Nothing is changed."""
        asked = self.arguments()
        if asked.get("language_model") is not None:
            asked["language_model"] = referred(
                "language_model", _language_model, actor=self.actor, ref=asked["language_model"]
            )
        return self._accepted(reprice(actor=self.actor, idempotency_key=_key(request), **asked))

    @extend_schema(request=None, parameters=[ONCE, LOCATION], responses={202: RepricingSerializer})  # type: ignore[untyped-decorator]  # drf-spectacular has no types
    @action(detail=True, methods=["post"])
    def apply(self, request: Request, pk: str) -> Response:
        """Make the difference true that this preview has shown. That is a repricing of its own, which is answered."""
        row = self.get_object()
        return self._accepted(apply_repricing(actor=self.actor, repricing=row, idempotency_key=_key(request)))

    @extend_schema(request=None, responses={200: RepricingSerializer, 202: RepricingSerializer})  # type: ignore[untyped-decorator]  # drf-spectacular has no types
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Stop it; what it has corrected until then stays corrected."""
        row = cancel_repricing(actor=self.actor, repricing=self.get_object())
        code = status.HTTP_200_OK if row.is_terminal else status.HTTP_202_ACCEPTED
        return Response(RepricingSerializer(row).data, code)

    def _accepted(self, row: Repricing) -> Response:
        location = self.request.build_absolute_uri(f"/api/v1/repricings/{row.pk}/")
        return Response(RepricingSerializer(row).data, status.HTTP_202_ACCEPTED, headers={"Location": location})


class CostCorrectionViewSet(RecordViewSet):
    """What executions cost before and after repricings."""

    queryset = CostCorrection.objects.all()
    serializer_class = CostCorrectionSerializer
    filterset_class = CostCorrectionFilter
    ordering_fields = ("id",)


def _key(request: Request) -> str:
    return request.headers.get("Idempotency-Key", "")


def _language_model(*, actor: User, ref: UUID) -> LanguageModel:
    return access(LanguageModel, actor=actor, id=ref)


def _access(actor: User, pk: UUID) -> Repricing:
    row = access(Repricing, actor=actor, id=pk)
    repricing_policy.check(actor, "view", row)
    return row


detail = detail_view(Repricing, _access, lambda row: RepricingSerializer(row).data)
events = events_view(Repricing, _access)
