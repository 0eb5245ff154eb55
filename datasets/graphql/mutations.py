"""Mutations of datasets, corpora and imports. Files come in over REST alone."""

from __future__ import annotations

from typing import Any

import graphene

from datasets import services
from datasets.graphql.types import CorpusType, DatasetType, FoundPassageType, ImportType, OverlapType
from datasets.models import Corpus, Dataset, Import
from datasets.services.splitting import split_dataset
from datasets.services.statistics import compute_statistics, overlap
from datasets.types import PassageSpec
from mlops.graphql.scalars import JSON, JSONObject
from mlops.graphql.verbs import VerbMutation, by_id

DATASET, CORPUS = by_id(Dataset), by_id(Corpus)
EXAMPLES = graphene.List(graphene.NonNull(JSONObject), description="All examples.")
NEW_EXAMPLES = graphene.List(graphene.NonNull(JSONObject), required=True, description="The examples.")


class PassageInput(graphene.InputObjectType):  # type: ignore[misc]  # graphene has no types
    """A document."""

    title = graphene.String(default_value="")
    text = graphene.String(required=True)


def _create_corpus(*, actor: Any, passages: Any, **given: Any) -> Any:
    return services.create_corpus(actor=actor, passages=[PassageSpec(**one) for one in passages], **given)


def _statistics(**given: Any) -> dict[str, Any]:
    return {"statistics": compute_statistics(**given), "dataset": given["dataset"]}


def _overlap(*, others: Any = None, fields: Any = (), **given: Any) -> dict[str, Any]:
    return {"overlaps": overlap(others=others, fields=fields or (), **given)}


def _split(**given: Any) -> dict[str, Any]:
    return {"datasets": split_dataset(**given)}


def _search(**given: Any) -> dict[str, Any]:
    return {"passages": services.search_passages(**given)}


class Mutation(graphene.ObjectType):  # type: ignore[misc]  # graphene has no types
    create_dataset = VerbMutation(
        services.create_dataset,
        gives={"dataset": DatasetType},
        takes={
            "name": graphene.String(required=True),
            "type": graphene.String(required=True, description="training, validation or test."),
            "examples": NEW_EXAMPLES,
            "description": graphene.String(),
            "schema": JSONObject(description="JSON Schema of one example; inferred when left out."),
        },
    )
    update_dataset = VerbMutation(
        services.update_dataset,
        gives={"dataset": DatasetType},
        takes={"dataset": DATASET, "description": graphene.String(), "schema": JSONObject(), "examples": EXAMPLES},
    )
    freeze_dataset = VerbMutation(services.freeze_dataset, gives={"dataset": DatasetType}, takes={"dataset": DATASET})
    delete_dataset = VerbMutation(services.delete_dataset, gives={}, takes={"dataset": DATASET})
    split_dataset = VerbMutation(
        split_dataset,
        gives={"datasets": graphene.List(graphene.NonNull(DatasetType))},
        takes={
            "dataset": DATASET,
            "fractions": JSONObject(required=True, description="Such as {training: 0.8, validation: 0.1, test: 0.1}."),
            "seed": graphene.Int(),
            "stratify_by": graphene.String(description="A field that keeps its distribution."),
            "name": graphene.String(description="Of the parts; else that of the dataset."),
        },
        perform=_split,
    )
    compute_statistics = VerbMutation(
        compute_statistics,
        gives={"statistics": JSON(), "dataset": DatasetType},
        takes={"dataset": DATASET},
        perform=_statistics,
    )
    overlap = VerbMutation(
        overlap,
        gives={"overlaps": graphene.List(graphene.NonNull(OverlapType))},
        takes={
            "dataset": DATASET,
            "others": by_id(Dataset, required=False, many=True),
            "fields": graphene.List(
                graphene.NonNull(graphene.String), description="Examples are the same when these agree."
            ),
        },
        perform=_overlap,
    )
    cancel_import = VerbMutation(services.cancel_import, gives={"job": ImportType}, takes={"job": by_id(Import)})
    create_corpus = VerbMutation(
        services.create_corpus,
        gives={"corpus": CorpusType},
        takes={
            "name": graphene.String(required=True),
            "passages": graphene.List(graphene.NonNull(PassageInput), required=True),
            "description": graphene.String(),
        },
        perform=_create_corpus,
    )
    freeze_corpus = VerbMutation(services.freeze_corpus, gives={"corpus": CorpusType}, takes={"corpus": CORPUS})
    delete_corpus = VerbMutation(services.delete_corpus, gives={}, takes={"corpus": CORPUS})
    search_passages = VerbMutation(
        services.search_passages,
        gives={"passages": graphene.List(graphene.NonNull(FoundPassageType))},
        takes={
            "corpus": CORPUS,
            "query": graphene.String(required=True),
            "k": graphene.Int(description="At most how many, up to 100."),
            "search": graphene.String(description="bm25, vector or hybrid."),
        },
        perform=_search,
    )
