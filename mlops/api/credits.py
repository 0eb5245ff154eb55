"""`/credits/`: the ledger, read only."""

from __future__ import annotations

from rest_framework import serializers
from rest_framework.request import Request

from mlops.api.serializers import RecordSerializer, StrictSerializer, credits_field
from mlops.api.viewsets import RecordViewSet
from mlops.filters import CreditEntryFilter
from mlops.models import CreditEntry, User
from mlops.services.credits import line_key


class CreditEntrySerializer(RecordSerializer):
    amount = credits_field(read_only=True, help_text="Signed, in credits.")
    used = credits_field(read_only=True, help_text="What a settle line charged, in credits.")

    class Meta:
        model = CreditEntry
        fields = (
            "id",
            "user",
            "kind",
            "amount",
            "used",
            "subject_kind",
            "subject_id",
            "granted_by",
            "note",
            "created_at",
        )


class CreditsSerializer(StrictSerializer):
    credits = credits_field()
    note = serializers.CharField(max_length=200, required=False, allow_blank=True, default="")


def ledger_key(verb: str, actor: User, request: Request) -> str:
    """The key of a ledger line that a request makes. Raises `Invalid` (`idempotency_key_invalid`)."""
    return line_key(verb, actor, request.headers.get("Idempotency-Key"))


class CreditEntryViewSet(RecordViewSet):
    """Lines of the ledger, newest first. Admins see all of them, others their own."""

    queryset = CreditEntry.objects.all()
    serializer_class = CreditEntrySerializer
    filterset_class = CreditEntryFilter
