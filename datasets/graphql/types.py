"""Types of datasets, corpora and imports."""

from __future__ import annotations

import graphene

from datasets.filters import CorpusFilter, DatasetFilter, ExampleFilter, ImportFilter, PassageFilter
from datasets.models import Corpus, Dataset, Example, Import, Passage
from mlops.graphql.lists import Children
from mlops.graphql.records import Listed, Record, Target
from mlops.graphql.types import LanguageModelType, UserType

VERSION = (
    "id",
    "name",
    "version",
    "description",
    "state",
    "size",
    "content_hash",
    "frozen_at",
    "created_at",
    "updated_at",
)


class ExampleType(Record):
    """One record of a dataset."""

    class Meta:
        name = "Example"
        model = Example
        fields = ("id", "position", "content_hash", "source_kind", "source_id", "created_at")
        heavy = ("data",)
        listed = Listed(ExampleFilter, order_by=("dataset_id", "position"))

    dataset = Target(lambda: DatasetType)


class DatasetType(Record):
    """A version of a named set of examples."""

    class Meta:
        name = "Dataset"
        model = Dataset
        fields = (*VERSION, "type")
        heavy = ("schema", "statistics")
        listed = Listed(DatasetFilter, search=("name", "description"))

    examples = Children(ExampleType, "dataset")


class PassageType(Record):
    """One document of a corpus, or a part of one."""

    class Meta:
        name = "Passage"
        model = Passage
        fields = ("id", "position", "title", "created_at")
        heavy = ("text",)
        unread = ("embedding",)
        listed = Listed(PassageFilter, order_by=("corpus_id", "position"))

    corpus = Target(lambda: CorpusType)


class CorpusType(Record):
    """A version of documents that modules of the kind retrieve search."""

    class Meta:
        name = "Corpus"
        model = Corpus
        fields = (*VERSION, "dimensions")
        listed = Listed(CorpusFilter, search=("name", "description"))

    embedding_model = Target(LanguageModelType)
    passages = Children(PassageType, "corpus")


class ImportType(Record):
    """A file on its way into a dataset or corpus, and what was wrong with it."""

    class Meta:
        name = "Import"
        model = Import
        fields = (
            "id", "kind", "name", "state", "revision", "progress", "error_code", "error_message", "file_name",
            "file_size", "format", "attempt", "cancel_requested_at", "created_at", "started_at", "finished_at",
        )  # fmt: skip
        heavy = ("options", "report")
        listed = Listed(ImportFilter, orderings=("id",))

    dataset = Target(DatasetType)
    corpus = Target(CorpusType)
    user = Target(UserType)


class OverlapType(graphene.ObjectType):  # type: ignore[misc]  # graphene has no types
    """What a dataset has in common with another."""

    class Meta:
        name = "DatasetOverlap"

    dataset_id = graphene.ID(required=True)
    name = graphene.String(required=True)
    type = graphene.String(required=True)
    version = graphene.Int(required=True)
    size = graphene.Int(required=True)
    sealed = graphene.Boolean(required=True, description="A test set: nothing may be trained on what is in it.")
    shared = graphene.Int(required=True, description="Different examples that are in both.")
    share = graphene.Float(required=True, description="Of the different examples of the dataset asked about.")


class FoundPassageType(graphene.ObjectType):  # type: ignore[misc]  # graphene has no types
    """A passage that answers a query. Scores of different kinds of search cannot be compared."""

    class Meta:
        name = "FoundPassage"

    id = graphene.ID(required=True)
    position = graphene.Int(required=True)
    title = graphene.String(required=True)
    text = graphene.String(required=True)
    score = graphene.Float(required=True)
