"""`/credits/`: the ledger, read only."""

from __future__ import annotations

import hashlib
from typing import ClassVar

from django.utils.translation import gettext as _
from django_filters import rest_framework as filters
from rest_framework import serializers
from rest_framework.request import Request

from mlops.api.serializers import RecordSerializer, StrictSerializer, credits_field
from mlops.api.viewsets import RecordViewSet
from mlops.errors import Invalid
from mlops.models import CreditEntry, User
from mlops.models.base import new_id

MAX_IDEMPOTENCY_KEY = 255


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
    """The key of a ledger line that a request makes: per actor, of bounded length whatever was sent.

    Raises `Invalid` (`idempotency_key_invalid`).
    """
    header = request.headers.get("Idempotency-Key")
    if header is None:
        return f"{verb}:{new_id()}"
    if not header or len(header) > MAX_IDEMPOTENCY_KEY:
        message = _("An Idempotency-Key has 1 to 255 characters.")
        raise Invalid("idempotency_key_invalid", message, field="Idempotency-Key")
    return f"{verb}:{hashlib.sha256(f'{actor.pk}:{header}'.encode('utf-8', 'surrogatepass')).hexdigest()}"


class CreditEntryFilter(filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    user = filters.UUIDFilter(field_name="user_id")
    subject_id = filters.UUIDFilter()

    class Meta:
        model = CreditEntry
        fields: ClassVar[list[str]] = ["user", "kind", "subject_id"]


class CreditEntryViewSet(RecordViewSet):
    """Lines of the ledger, newest first. Admins see all of them, others their own."""

    queryset = CreditEntry.objects.all()
    serializer_class = CreditEntrySerializer
    filterset_class = CreditEntryFilter
