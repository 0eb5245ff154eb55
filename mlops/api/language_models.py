"""`/language-models/`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import Prefetch
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from mlops.api.history import Reverts
from mlops.api.serializers import RecordSerializer, StrictSerializer
from mlops.api.viewsets import Creates, Deletes, Updates
from mlops.filters import LanguageModelFilter
from mlops.models import Fallback, LanguageModel
from mlops.selectors import access
from mlops.services.language_models import (
    EDITABLE,
    MAX_SECRET,
    create_language_model,
    delete_language_model,
    set_default,
    set_fallbacks,
    set_secret,
    update_language_model,
)


class LanguageModelSerializer(RecordSerializer):
    has_secret = serializers.BooleanField(read_only=True, help_text="The secret itself is never shown.")
    fallbacks = serializers.SerializerMethodField(help_text="Ids of the models that stand in, in their order.")

    class Meta:
        model = LanguageModel
        fields: tuple[str, ...] = (
            "id",
            "name",
            "kind",
            *EDITABLE,
            "is_default",
            "has_secret",
            "secret_variable",
            "fallbacks",
            "created_at",
            "updated_at",
        )

    def get_fallbacks(self, model: LanguageModel) -> list[UUID]:
        return [row.model_id for row in model.fallback_rows.all()]


class UpdateLanguageModelSerializer(RecordSerializer):
    parameters = serializers.DictField(required=False)

    class Meta:
        model = LanguageModel
        fields: tuple[str, ...] = EDITABLE


class CreateLanguageModelSerializer(UpdateLanguageModelSerializer):
    name = serializers.CharField(max_length=120)
    import_price = serializers.BooleanField(
        default=True, write_only=True, help_text="Whether it begins with its list price of LiteLLM's map."
    )

    class Meta(UpdateLanguageModelSerializer.Meta):
        fields: tuple[str, ...] = ("name", "kind", "import_price", *EDITABLE)


class SecretSerializer(StrictSerializer):
    value = serializers.CharField(required=False, allow_blank=True, default="", max_length=MAX_SECRET, write_only=True)
    variable = serializers.CharField(required=False, allow_blank=True, default="", max_length=100)


class FallbacksSerializer(StrictSerializer):
    fallbacks = serializers.ListField(child=serializers.UUIDField(), max_length=10)


class LanguageModelViewSet(Creates, Updates, Deletes, Reverts):
    """Language models. Engineers read them, admins write them; a secret goes in and never comes out."""

    queryset = LanguageModel.objects.prefetch_related(
        Prefetch("fallback_rows", queryset=Fallback.objects.order_by("position"))
    )
    serializer_class = LanguageModelSerializer
    filterset_class = LanguageModelFilter
    search_fields = ("name",)
    ordering_fields = ("name",)
    verbs = {
        "create": create_language_model,
        "partial_update": update_language_model,
        "destroy": delete_language_model,
        "set_secret": set_secret,
        "set_fallbacks": set_fallbacks,
        "set_default": set_default,
    }
    writes = {
        "create": CreateLanguageModelSerializer,
        "partial_update": UpdateLanguageModelSerializer,
        "set_secret": SecretSerializer,
        "set_fallbacks": FallbacksSerializer,
    }

    def perform_create(self, fields: dict[str, Any]) -> LanguageModel:
        return create_language_model(actor=self.actor, **fields)

    def perform_update(self, row: LanguageModel, fields: dict[str, Any]) -> LanguageModel:
        return update_language_model(actor=self.actor, model=row, fields=fields)

    def perform_destroy(self, row: LanguageModel) -> None:
        delete_language_model(actor=self.actor, model=row)

    @action(detail=True, methods=["post"])
    def set_secret(self, request: Request, pk: str) -> Response:
        """Keep a secret encrypted, or name the environment variable that holds it; neither removes it."""
        model = self.get_object()
        return self.answer(set_secret(actor=self.actor, model=model, **self.arguments()))

    @action(detail=True, methods=["post"])
    def set_fallbacks(self, request: Request, pk: str) -> Response:
        """Which models stand in when this one fails, in their order."""
        model = self.get_object()
        stand_ins = [access(LanguageModel, actor=self.actor, id=id) for id in self.arguments()["fallbacks"]]
        return self.answer(set_fallbacks(actor=self.actor, model=model, fallbacks=stand_ins))

    @action(detail=True, methods=["post"])
    def set_default(self, request: Request, pk: str) -> Response:
        """Make it the model of all programs that name none."""
        return self.answer(set_default(actor=self.actor, model=self.get_object()))
