"""`/credits/`: the ledger, read only."""

from __future__ import annotations

from typing import ClassVar

from django_filters import rest_framework as filters

from mlops.api.serializers import RecordSerializer, credits_field
from mlops.api.viewsets import RecordViewSet
from mlops.models import CreditEntry


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
