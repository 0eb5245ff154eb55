"""Datasets and corpora in the admin site: to be read and, while nothing uses them, deleted."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from datasets import services
from datasets.models import Corpus, Dataset, Example, Passage
from datasets.policies import corpus_policy, dataset_policy
from mlops.admin.base import ReadOnlyInline, RecordAdmin, ServiceAdmin, actor_of

SHOWN = 120
"""Characters of a text in a row of a list."""


@admin.display(description=_("data"))
def beginning_of_data(example: Example) -> str:
    return _beginning("; ".join(f"{name}: {value}" for name, value in example.data.items()))


@admin.display(description=_("text"))
def beginning_of_text(passage: Passage) -> str:
    return _beginning(passage.text)


def _beginning(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


class ExampleInline(ReadOnlyInline):
    model = Example
    policy = dataset_policy
    fields = readonly_fields = ("position", beginning_of_data)
    ordering = ("position",)
    per_page = 20
    hide_title = True


class PassageInline(ReadOnlyInline):
    model = Passage
    policy = corpus_policy
    fields = readonly_fields = ("position", "title", beginning_of_text)
    ordering = ("position",)
    per_page = 20
    hide_title = True


@admin.register(Dataset)
class DatasetAdmin(RecordAdmin):
    policy = dataset_policy
    delete_action = "delete"
    list_display = ("name", "type", "version", "size", "frozen_at", "created_at")
    list_filter = ("type", ("frozen_at", admin.EmptyFieldListFilter))
    search_fields = ("name", "description")
    fields = ("name", "type", "version", "size", "description", "schema", "statistics", "content_hash", "frozen_at")
    readonly_fields = ("version", "size", "statistics", "content_hash", "frozen_at")
    inlines = (ExampleInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request)
        return rows if request.resolver_match and "object_id" in request.resolver_match.kwargs else _light(rows)

    def perform_delete(self, request: HttpRequest, row: Dataset) -> None:
        services.delete_dataset(actor=actor_of(request), dataset=row)


@admin.register(Corpus)
class CorpusAdmin(RecordAdmin):
    policy = corpus_policy
    delete_action = "delete"
    list_display = ("name", "version", "size", "frozen_at", "created_at")
    list_filter = (("frozen_at", admin.EmptyFieldListFilter),)
    search_fields = ("name", "description")
    fields = ("name", "version", "size", "description", "content_hash", "frozen_at")
    readonly_fields = ("version", "size", "content_hash", "frozen_at")
    inlines = (PassageInline,)

    def perform_delete(self, request: HttpRequest, row: Corpus) -> None:
        services.delete_corpus(actor=actor_of(request), corpus=row)


@admin.register(Example)
class ExampleAdmin(ServiceAdmin):
    policy = dataset_policy
    list_display = ("dataset", "position", beginning_of_data)
    list_select_related = ("dataset",)
    list_filter = (("dataset", admin.RelatedOnlyFieldListFilter),)
    ordering = ("dataset", "position")


@admin.register(Passage)
class PassageAdmin(ServiceAdmin):
    policy = corpus_policy
    list_display = ("corpus", "position", "title", beginning_of_text)
    list_select_related = ("corpus",)
    list_filter = (("corpus", admin.RelatedOnlyFieldListFilter),)
    search_fields = ("title", "text")
    ordering = ("corpus", "position")


def _light(rows: QuerySet[Any]) -> QuerySet[Any]:
    return rows.defer("schema", "statistics")
