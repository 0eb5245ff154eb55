"""`/language-models/` and `/prices/`."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.db.models import Prefetch
from django_filters import rest_framework as filters
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from mlops.api.serializers import DecimalStringField, RecordSerializer, StrictSerializer
from mlops.api.viewsets import Creates, Deletes, RecordViewSet, Updates
from mlops.models import Fallback, LanguageModel, ModelPrice
from mlops.selectors import access
from mlops.services.language_models import (
    EDITABLE,
    MAX_SECRET,
    add_price,
    create_language_model,
    delete_language_model,
    set_default,
    set_fallbacks,
    set_secret,
    update_language_model,
)

MICRO = 10**6


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

    class Meta(UpdateLanguageModelSerializer.Meta):
        fields: tuple[str, ...] = ("name", "kind", *EDITABLE)


class SecretSerializer(StrictSerializer):
    value = serializers.CharField(required=False, allow_blank=True, default="", max_length=MAX_SECRET, write_only=True)
    variable = serializers.CharField(required=False, allow_blank=True, default="", max_length=100)


class FallbacksSerializer(StrictSerializer):
    fallbacks = serializers.ListField(child=serializers.UUIDField(), max_length=10)


class LanguageModelViewSet(Creates, Updates, Deletes):
    """Language models. Engineers read them, admins write them; a secret goes in and never comes out."""

    queryset = LanguageModel.objects.prefetch_related(
        Prefetch("fallback_rows", queryset=Fallback.objects.order_by("position"))
    )
    serializer_class = LanguageModelSerializer
    filterset_fields = ("name", "kind", "is_enabled", "is_default")
    search_fields = ("name",)
    ordering_fields = ("name",)
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


def price_field(**options: Any) -> DecimalStringField:
    """Micro-dollars per million tokens as a decimal string of dollars per million tokens."""
    return DecimalStringField(scale=MICRO, help_text="Dollars per million tokens.", **options)


class ModelPriceSerializer(RecordSerializer):
    language_model = serializers.UUIDField(source="model_id", read_only=True)
    input_price = price_field(read_only=True)
    cached_input_price = price_field(read_only=True)
    output_price = price_field(read_only=True)

    class Meta:
        model = ModelPrice
        fields: tuple[str, ...] = (
            "id",
            "language_model",
            "valid_from",
            "input_price",
            "cached_input_price",
            "output_price",
            "created_at",
            "updated_at",
        )


class AddPriceSerializer(StrictSerializer):
    language_model = serializers.UUIDField()
    valid_from = serializers.DateTimeField()
    input_price = price_field()
    cached_input_price = price_field()
    output_price = price_field()


class ModelPriceFilter(filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    language_model = filters.UUIDFilter(field_name="model_id")

    class Meta:
        model = ModelPrice
        fields: ClassVar[list[str]] = ["language_model"]


class ModelPriceViewSet(Creates, RecordViewSet):
    """Dated prices. A new price is a new row; what was charged keeps the row that it was charged by."""

    queryset = ModelPrice.objects.all()
    serializer_class = ModelPriceSerializer
    filterset_class = ModelPriceFilter
    writes = {"create": AddPriceSerializer}

    def perform_create(self, fields: dict[str, Any]) -> ModelPrice:
        model = access(LanguageModel, actor=self.actor, id=fields.pop("language_model"))
        return add_price(actor=self.actor, model=model, **fields)
