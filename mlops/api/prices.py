"""`/prices/`: the price book and its import from LiteLLM's map."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from mlops.api.history import Remembers
from mlops.api.serializers import DecimalStringField, RecordSerializer, StrictSerializer
from mlops.api.viewsets import Creates, Deletes
from mlops.filters import ModelPriceFilter
from mlops.models import LanguageModel, ModelPrice
from mlops.selectors import access
from mlops.services.price_imports import ImportedPrice, Outcome, import_prices
from mlops.services.prices import add_price, delete_price
from mlops.types import PICO_PER_USD, Price

MICRO = 10**6
MAX_MODELS = 1_000


def price_field(**options: Any) -> DecimalStringField:
    """Micro-dollars per million tokens as a decimal string of dollars per million tokens."""
    return DecimalStringField(scale=MICRO, **{"help_text": "Dollars per million tokens.", **options})


def request_price_field(**options: Any) -> DecimalStringField:
    """Pico-dollars per request as a decimal string of dollars."""
    return DecimalStringField(scale=PICO_PER_USD, help_text="Dollars per billed request.", **options)


class ModelPriceSerializer(RecordSerializer):
    language_model = serializers.UUIDField(source="model_id", read_only=True)
    input_price = price_field(read_only=True)
    cached_input_price = price_field(read_only=True)
    output_price = price_field(read_only=True)
    cache_write_price = price_field(read_only=True, allow_null=True)
    reasoning_price = price_field(read_only=True, allow_null=True)
    request_price = request_price_field(read_only=True)
    notice = serializers.CharField(read_only=True, help_text="What a row that was entered late leaves as it was.")

    class Meta:
        model = ModelPrice
        fields: tuple[str, ...] = (
            "id",
            "language_model",
            "valid_from",
            "input_price",
            "cached_input_price",
            "output_price",
            "cache_write_price",
            "reasoning_price",
            "request_price",
            "input_limit",
            "source",
            "source_date",
            "notice",
            "created_at",
            "updated_at",
        )


class AddPriceSerializer(StrictSerializer):
    language_model = serializers.UUIDField()
    valid_from = serializers.DateTimeField()
    input_price = price_field()
    cached_input_price = price_field()
    output_price = price_field()
    cache_write_price = price_field(
        required=False, allow_null=True, help_text="Dollars per million tokens; null: as input."
    )
    reasoning_price = price_field(
        required=False, allow_null=True, help_text="Dollars per million tokens; null: as output."
    )
    request_price = request_price_field(required=False)
    input_limit = serializers.IntegerField(
        required=False, allow_null=True, help_text="Longer requests have another price, which is not known."
    )
    source = serializers.CharField(required=False, allow_blank=True, max_length=200)  # type: ignore[assignment]  # fields have a `source` of their own


class ImportPricesSerializer(StrictSerializer):
    language_models = serializers.ListField(
        child=serializers.UUIDField(), required=False, max_length=MAX_MODELS, help_text="Else all that are enabled."
    )
    valid_from = serializers.DateTimeField(required=False, help_text="Else now.")
    dry_run = serializers.BooleanField(default=False, help_text="Only say what would be added.")
    replace_entered = serializers.BooleanField(
        default=False, help_text="Add a row also where a person has entered another price."
    )


class ListPriceSerializer(serializers.Serializer[Price]):
    """What the map says of a model."""

    key = serializers.CharField(source="id", help_text="How the map calls the model.")
    input_price = price_field(source="input")
    cached_input_price = price_field(source="cached_input")
    output_price = price_field(source="output")
    cache_write_price = price_field(source="cache_write", allow_null=True)
    reasoning_price = price_field(source="reasoning", allow_null=True)
    request_price = request_price_field(source="request")
    input_limit = serializers.IntegerField(allow_null=True)


class ImportedPriceSerializer(serializers.Serializer[ImportedPrice]):
    language_model = serializers.UUIDField(source="model.pk")
    name = serializers.CharField(source="model.name")
    outcome = serializers.ChoiceField([outcome.value for outcome in Outcome])
    reason = serializers.CharField(help_text="Why it is kept, unknown or ambiguous.")
    source = serializers.CharField()  # type: ignore[assignment]  # fields have a `source` of their own
    listed = ListPriceSerializer(allow_null=True)
    present = ModelPriceSerializer(allow_null=True)
    row = ModelPriceSerializer(allow_null=True)


class ImportReportSerializer(serializers.Serializer[Any]):
    results = ImportedPriceSerializer(many=True)


class ModelPriceViewSet(Creates, Deletes, Remembers):
    """Dated prices. A new price is a new row; what was charged keeps the row that it was charged by."""

    queryset = ModelPrice.objects.select_related("model")
    serializer_class = ModelPriceSerializer
    filterset_class = ModelPriceFilter
    verbs = {"create": add_price, "destroy": delete_price, "import_prices": import_prices}
    writes = {"create": AddPriceSerializer, "import_prices": ImportPricesSerializer}
    answers = {"import_prices": ImportReportSerializer}

    def perform_create(self, fields: dict[str, Any]) -> ModelPrice:
        model = access(LanguageModel, actor=self.actor, id=fields.pop("language_model"))
        return add_price(actor=self.actor, model=model, **fields)

    def perform_destroy(self, row: ModelPrice) -> None:
        delete_price(actor=self.actor, price=row)

    @extend_schema(responses={200: ImportReportSerializer})  # type: ignore[untyped-decorator]  # drf-spectacular has no types
    @action(detail=False, methods=["post"], url_path="import")
    def import_prices(self, request: Request) -> Response:
        """Add the list prices of LiteLLM's bundled map where they differ from those in force; nothing is fetched."""
        fields = self.arguments()
        ids = fields.pop("language_models", None)
        models = None if ids is None else [access(LanguageModel, actor=self.actor, id=id) for id in ids]
        results = import_prices(actor=self.actor, models=models, **fields)
        return Response(self.get_serializer({"results": results}).data)
