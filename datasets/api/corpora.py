"""Corpora and their passages over REST."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from datasets import services
from datasets.api.imports import LOCATION, ImportSerializer, JsonText
from datasets.api.serializers import CorpusSerializer, PassageRowSerializer, PassageSerializer
from datasets.filters import CorpusFilter, PassageFilter
from datasets.models import Corpus, Passage
from datasets.models.imports import FORMAT_CHOICES
from datasets.types import PassageSpec, Search
from mlops.api.bodies import UploadParser
from mlops.api.documented import ONCE
from mlops.api.history import Remembers
from mlops.api.serializers import ParametersSerializer, StrictSerializer
from mlops.api.viewsets import Creates, Deletes, RecordViewSet
from mlops.errors import Invalid, NotFound
from mlops.selectors import enabled_language_model

OPTIONS = ("chunk_size", "overlap", "unit", "encoding", "delimiter", "mapping")
UNITS = ("words", "characters")


class PassageBody(StrictSerializer):
    title = serializers.CharField(default="", allow_blank=True)
    text = serializers.CharField(trim_whitespace=False)


class CorpusCreateSerializer(StrictSerializer):
    name = serializers.CharField()
    description = serializers.CharField(default="", allow_blank=True)
    passages = PassageBody(many=True)


class CorpusImportSerializer(StrictSerializer):
    file = serializers.FileField(allow_empty_file=True)
    name = serializers.CharField()
    description = serializers.CharField(required=False, allow_blank=True)
    format = serializers.ChoiceField(FORMAT_CHOICES, required=False, help_text="Else the ending of the file's name.")
    embedding_model = serializers.CharField(
        required=False, help_text="Id or name of an embedding model: passages get vectors."
    )
    chunk_size = serializers.IntegerField(required=False, help_text="Units of a passage; else whole documents.")
    overlap = serializers.IntegerField(required=False, help_text="Units that a passage repeats of the one before.")
    unit = serializers.ChoiceField(UNITS, required=False)
    encoding = serializers.CharField(
        required=False, help_text="utf-8, utf-16, latin-1 or cp1252; else it is found out."
    )
    delimiter = serializers.CharField(required=False, trim_whitespace=False, help_text="Of CSV; a comma unless given.")
    mapping = JsonText(required=False, help_text="Column of the file -> title or text; other columns are left out.")


class FoundPassageSerializer(StrictSerializer):
    id = serializers.UUIDField()
    position = serializers.IntegerField()
    title = serializers.CharField()
    text = serializers.CharField()
    score = serializers.FloatField(help_text="Scores of different kinds of search cannot be compared.")


class SearchQuery(ParametersSerializer):
    q = serializers.CharField(max_length=10_000)
    k = serializers.IntegerField(default=5)
    search = serializers.ChoiceField([word.value for word in Search], default=Search.BM25.value)


class CorpusViewSet(Creates, Deletes, Remembers):
    """Corpora, newest first."""

    queryset = Corpus.objects.select_related("embedding_model")
    serializer_class = CorpusSerializer
    filterset_class = CorpusFilter
    search_fields = ("name", "description")
    verbs = {
        "create": services.create_corpus,
        "destroy": services.delete_corpus,
        "import_file": services.import_corpus,
        "freeze": services.freeze_corpus,
        "find": services.search_passages,
    }
    writes = {"create": CorpusCreateSerializer, "import_file": CorpusImportSerializer}
    answers = {"import_file": ImportSerializer, "find": FoundPassageSerializer}

    def perform_create(self, fields: dict[str, Any]) -> Corpus:
        passages = [PassageSpec(**given) for given in fields.pop("passages")]
        return services.create_corpus(actor=self.actor, passages=passages, **fields)

    def perform_destroy(self, row: Corpus) -> None:
        services.delete_corpus(actor=self.actor, corpus=row)

    @extend_schema(  # type: ignore[untyped-decorator]  # drf-spectacular has no types
        request={"multipart/form-data": CorpusImportSerializer},
        parameters=[ONCE, LOCATION],
        responses={202: ImportSerializer},
    )
    @action(detail=False, methods=["post"], url_path="import", parser_classes=[UploadParser])
    def import_file(self, request: Request) -> Response:
        """Upload a file that becomes the next version of a corpus: all of it, or nothing and a report of what is bad.

        Text files hold one document, or several with form feeds between them; all others records with `title` and
        `text`.
        """
        fields = self.arguments()
        options = {name: fields.pop(name) for name in OPTIONS if name in fields}
        if "embedding_model" in fields:
            fields["embedding_model"] = _embedding_model(fields["embedding_model"])
        key = request.headers.get("Idempotency-Key", "")
        job = services.import_corpus(actor=self.actor, options=options, idempotency_key=key, **fields)
        location = request.build_absolute_uri(f"/api/v1/imports/{job.pk}/")
        return Response(self.get_serializer(job).data, status.HTTP_202_ACCEPTED, headers={"Location": location})

    @extend_schema(request=None, responses=CorpusSerializer)  # type: ignore[untyped-decorator]  # drf-spectacular has no types
    @action(detail=True, methods=["post"])
    def freeze(self, request: Request, pk: str) -> Response:
        """Keep it from now on. Programs that are submitted freeze the corpora that they search."""
        return self.answer(services.freeze_corpus(actor=self.actor, corpus=self.get_object()))

    @extend_schema(  # type: ignore[untyped-decorator]  # drf-spectacular has no types
        parameters=[
            OpenApiParameter("q", str, required=True, description="What is looked for."),
            OpenApiParameter("k", int, description="At most how many passages, up to 100."),
            OpenApiParameter("search", str, enum=list(Search), description="By words, by meaning or by both."),
        ],
        responses=FoundPassageSerializer(many=True),
    )
    @action(detail=True, url_path="search", filter_backends=[], pagination_class=None)
    def find(self, request: Request, pk: str) -> Response:
        """The passages that answer `q` best. By meaning it embeds `q`, which is charged."""
        corpus = self.get_object()
        asked = SearchQuery(data=request.query_params.dict())
        asked.is_valid(raise_exception=True)
        fields = asked.validated_data
        found = services.search_passages(
            actor=self.actor, corpus=corpus, query=fields["q"], k=fields["k"], search=fields["search"]
        )
        return Response([asdict(row) for row in found])


class PassageViewSet(RecordViewSet):
    """Passages in the order of their corpus; the detail has the text."""

    queryset = Passage.objects.defer("embedding").order_by("corpus_id", "position")
    serializer_class = PassageSerializer
    list_serializer_class = PassageRowSerializer
    filterset_class = PassageFilter

    def in_list(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return rows.defer("text", "embedding")


def _embedding_model(reference: str) -> Any:
    try:
        return enabled_language_model(reference)
    except NotFound as error:
        raise Invalid("unknown_language_model", error.message, field="embedding_model") from None
