"""Imports over REST: files come in as multipart/form-data, the rest is a job like others."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from datasets import services
from datasets.filters import ImportFilter
from datasets.models import TYPE_CHOICES, Import
from datasets.models.imports import FORMAT_CHOICES
from datasets.selectors import access_import
from datasets.types import Duplicates
from mlops.api.bodies import UploadParser
from mlops.api.documented import ONCE, location_of
from mlops.api.serializers import RecordSerializer, StrictSerializer
from mlops.api.streams import detail_view, events_view
from mlops.api.viewsets import RecordViewSet
from mlops.errors import Invalid
from mlops.models import User
from mlops.strict_json import parse_json

LOCATION = location_of("the import")
OPTIONS = ("encoding", "delimiter", "duplicates", "mapping", "types", "schema")


class ImportRowSerializer(RecordSerializer):
    class Meta:
        model = Import
        fields = [
            "id", "kind", "name", "state", "revision", "progress", "error_code", "error_message", "dataset", "corpus",
            "file_name", "file_size", "format", "user", "cancel_requested_at", "created_at",
            "started_at", "finished_at",
        ]  # fmt: skip
        read_only_fields = fields


class ImportSerializer(RecordSerializer):
    class Meta:
        model = Import
        fields = [*ImportRowSerializer.Meta.fields, "options", "attempt", "report"]
        read_only_fields = fields


@extend_schema_field({"type": "object"})
class JsonText(serializers.Field[Any, Any, Any, Any]):
    """An object as JSON in a field of a form."""

    def to_internal_value(self, data: Any) -> Any:
        try:
            value = parse_json(str(data).encode("utf-8", "replace"))
        except Invalid as error:
            raise serializers.ValidationError(error.message, code=error.code) from None
        if not isinstance(value, dict):
            raise serializers.ValidationError("Expected an object.", code="not_an_object")
        return value


class ImportWriteSerializer(StrictSerializer):
    file = serializers.FileField(allow_empty_file=True)
    name = serializers.CharField()
    type = serializers.ChoiceField(TYPE_CHOICES)
    description = serializers.CharField(required=False, allow_blank=True)
    format = serializers.ChoiceField(FORMAT_CHOICES, required=False, help_text="Else the ending of the file's name.")
    encoding = serializers.CharField(
        required=False, help_text="utf-8, utf-16, latin-1 or cp1252; else it is found out."
    )
    delimiter = serializers.CharField(required=False, trim_whitespace=False, help_text="Of CSV; a comma unless given.")
    duplicates = serializers.ChoiceField([word.value for word in Duplicates], required=False)
    mapping = JsonText(required=False, help_text="Column of the file -> field; other columns are left out.")
    types = JsonText(required=False, help_text="Field -> string, integer, number, boolean, array, object or json.")
    schema = JsonText(required=False, help_text="JSON Schema that every example must fulfil.")


class ImportActions(RecordViewSet):
    """POST import on the collection of datasets."""

    verbs = {"import_file": services.import_dataset}
    writes = {"import_file": ImportWriteSerializer}
    answers = {"import_file": ImportSerializer}

    @extend_schema(  # type: ignore[untyped-decorator]  # drf-spectacular has no types
        request={"multipart/form-data": ImportWriteSerializer},
        parameters=[ONCE, LOCATION],
        responses={202: ImportSerializer},
    )
    @action(detail=False, methods=["post"], url_path="import", parser_classes=[UploadParser])
    def import_file(self, request: Request) -> Response:
        """Upload a file that becomes the next version of a dataset: all of it, or nothing and a report of bad rows."""
        fields = self.arguments()
        options = {name: fields.pop(name) for name in OPTIONS if name in fields}
        key = request.headers.get("Idempotency-Key", "")
        job = services.import_dataset(actor=self.actor, options=options, idempotency_key=key, **fields)
        location = request.build_absolute_uri(f"/api/v1/imports/{job.pk}/")
        return Response(self.get_serializer(job).data, status.HTTP_202_ACCEPTED, headers={"Location": location})


class ImportViewSet(RecordViewSet):
    """Imports, newest first; the detail has the report."""

    queryset = Import.objects.all()
    serializer_class = ImportSerializer
    list_serializer_class = ImportRowSerializer
    filterset_class = ImportFilter
    verbs = {"cancel": services.cancel_import}
    ordering_fields = ("id",)

    def in_list(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return rows.defer("options", "report")

    @extend_schema(request=None, responses={200: ImportSerializer, 202: ImportSerializer})  # type: ignore[untyped-decorator]  # drf-spectacular has no types
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Stop an import; nothing of it remains. A pending one is cancelled at once, a running one soon: poll it."""
        job = services.cancel_import(actor=self.actor, job=self.get_object())
        code = status.HTTP_200_OK if job.is_terminal else status.HTTP_202_ACCEPTED
        return Response(self.get_serializer(job).data, code)


def _accessed(actor: User, pk: UUID) -> Import:
    return access_import(actor=actor, import_id=pk)


detail = detail_view(Import, _accessed, lambda job: ImportSerializer(job).data)
events = events_view(Import, _accessed)
