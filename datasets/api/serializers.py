"""Shapes of datasets and corpora as they are read."""

from __future__ import annotations

from datasets.models import Corpus, Dataset, Example, Passage
from mlops.api.serializers import RecordSerializer

VERSION = ["id", "name", "version", "description", "size", "content_hash", "frozen_at", "created_at", "updated_at"]


class DatasetRowSerializer(RecordSerializer):
    class Meta:
        model = Dataset
        fields = [*VERSION, "type"]
        read_only_fields = fields


class DatasetSerializer(RecordSerializer):
    class Meta:
        model = Dataset
        fields = [*VERSION, "type", "schema", "statistics"]
        read_only_fields = fields


class ExampleRowSerializer(RecordSerializer):
    class Meta:
        model = Example
        fields = ["id", "dataset", "position", "content_hash", "created_at"]
        read_only_fields = fields


class ExampleSerializer(RecordSerializer):
    class Meta:
        model = Example
        fields = ["id", "dataset", "position", "data", "content_hash", "source_kind", "source_id", "created_at"]
        read_only_fields = fields


class CorpusSerializer(RecordSerializer):
    class Meta:
        model = Corpus
        fields = VERSION
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
