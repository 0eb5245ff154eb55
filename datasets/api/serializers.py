"""Shapes of datasets and corpora."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from datasets.models import TYPE_CHOICES, Corpus, Dataset, Example, Passage
from mlops.api.serializers import RecordSerializer, StrictSerializer

MAX_INLINE = 10_000
"""Examples that are read and written as part of their dataset."""

VERSION = ["id", "name", "version", "description", "size", "content_hash", "frozen_at", "created_at", "updated_at"]


class DatasetRowSerializer(RecordSerializer):
    class Meta:
        model = Dataset
        fields = [*VERSION, "type", "state"]
        read_only_fields = fields


class DatasetSerializer(RecordSerializer):
    data = serializers.SerializerMethodField(  # type: ignore[assignment]  # a field, not the property of the same name
        help_text=f"The examples in their order; null beyond {MAX_INLINE}: `/examples/?dataset=&data=true` has them in "
        "pages, `/export/` as a file."
    )

    class Meta:
        model = Dataset
        fields = [*VERSION, "type", "state", "schema", "statistics", "data"]
        read_only_fields = fields

    @extend_schema_field({"type": ["array", "null"], "items": {"type": "object"}})  # type: ignore[untyped-decorator]  # drf-spectacular has no types
    def get_data(self, dataset: Dataset) -> list[Any] | None:
        if dataset.size > MAX_INLINE:
            return None
        rows = dataset.examples.visible_to(self.context["request"].user)
        return list(rows.order_by("position").values_list("data", flat=True))


class DatasetWriteSerializer(StrictSerializer):
    """What can be changed; schema and data only while nothing uses the dataset."""

    description = serializers.CharField(required=False, allow_blank=True)
    schema = serializers.DictField(required=False, help_text="JSON Schema of one example.")
    data = serializers.ListField(  # type: ignore[assignment]  # as above
        child=serializers.DictField(), required=False, help_text=f"All examples, at most {MAX_INLINE}."
    )


class DatasetCreateSerializer(DatasetWriteSerializer):
    name = serializers.CharField()
    type = serializers.ChoiceField(TYPE_CHOICES)
    data = serializers.ListField(child=serializers.DictField(), help_text=f"The examples, at most {MAX_INLINE}.")


class ExampleRowSerializer(RecordSerializer):
    class Meta:
        model = Example
        fields = ["id", "dataset", "position", "content_hash", "created_at"]
        read_only_fields = fields


class ExampleWithDataSerializer(ExampleRowSerializer):
    """A row of the list whose data were asked for."""

    data = serializers.JSONField(required=False)  # type: ignore[assignment]  # the name of the serializer's own

    class Meta(ExampleRowSerializer.Meta):
        fields = [*ExampleRowSerializer.Meta.fields, "data"]


class ExampleSerializer(RecordSerializer):
    class Meta:
        model = Example
        fields = ["id", "dataset", "position", "data", "content_hash", "source_kind", "source_id", "created_at"]
        read_only_fields = fields


class CorpusSerializer(RecordSerializer):
    embedding_model = serializers.CharField(
        source="embedding_model.name", default=None, read_only=True, allow_null=True, help_text="Of its vectors."
    )

    class Meta:
        model = Corpus
        fields = [*VERSION, "state", "embedding_model", "dimensions"]
        read_only_fields = fields


class PassageRowSerializer(RecordSerializer):
    class Meta:
        model = Passage
        fields = ["id", "corpus", "position", "title", "created_at"]
        read_only_fields = fields


class PassageSerializer(RecordSerializer):
    class Meta:
        model = Passage
        fields = ["id", "corpus", "position", "title", "text", "created_at"]
        read_only_fields = fields
