"""Queries of datasets, corpora and imports."""

from __future__ import annotations

import graphene

from datasets.graphql.types import CorpusType, DatasetType, ExampleType, ImportType, PassageType
from mlops.graphql.lists import Rows
from mlops.graphql.records import Get


class Query(graphene.ObjectType):  # type: ignore[misc]  # graphene has no types
    get_dataset = Get(DatasetType)
    list_datasets = Rows(DatasetType)
    get_example = Get(ExampleType)
    list_examples = Rows(ExampleType)
    get_corpus = Get(CorpusType)
    list_corpora = Rows(CorpusType)
    get_passage = Get(PassageType)
    list_passages = Rows(PassageType)
    get_import = Get(ImportType)
    list_imports = Rows(ImportType)
