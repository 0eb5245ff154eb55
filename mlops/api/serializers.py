"""What serializers of this house share: unknown members are errors, money is a decimal string."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from mlops.errors import Invalid
from mlops.money import as_decimal, from_decimal
from mlops.types import MICRO_PER_CREDIT


class _RefusesUnknown:
    """A write may only name fields that can be written."""

    unknown = ("unknown_field", gettext_lazy("There is no such field."))

    def to_internal_value(self, data: Any) -> Any:
        root: Any = self.root  # type: ignore[attr-defined]
        if root is not self and root.partial:
            # A change may leave fields of the row out; what it does send of something inside is sent whole.
            whole: Any = type(self)(context=root.context)  # type: ignore[call-arg]  # as below
            return whole.to_internal_value(data)
        if isinstance(data, Mapping):
            self._refuse_unknown(data)
        return super().to_internal_value(data)  # type: ignore[misc]  # the serializer that this is mixed into

    def _refuse_unknown(self, data: Mapping[str, Any]) -> None:
        fields: Mapping[str, serializers.Field[Any, Any, Any, Any]] = self.fields  # type: ignore[attr-defined]
        code, message = self.unknown
        wrong = {
            str(name): serializers.ErrorDetail(_("Cannot be written."), "read_only_field")
            if name in fields
            else serializers.ErrorDetail(str(message), code)
            for name in data
            if name not in fields or fields[name].read_only
        }
        if wrong:
            raise serializers.ValidationError({name: [problem] for name, problem in wrong.items()})


class StrictSerializer(_RefusesUnknown, serializers.Serializer[Any]):
    """A shape that is no model's."""


class ParametersSerializer(StrictSerializer):
    """The parameters of a query."""

    unknown = ("unknown_parameter", gettext_lazy("There is no such query parameter."))


class RecordSerializer(_RefusesUnknown, serializers.ModelSerializer[Any]):
    """A row as it is read, or the fields of it that may be written."""


@extend_schema_field({"type": "string", "format": "decimal", "examples": ["1.25"]})
class DecimalStringField(serializers.Field[int, Any, str, Any]):
    """A whole number of 1/`scale` units inside, a decimal string outside. JSON numbers with a point are refused:
    they have been rounded already."""

    def __init__(self, *, scale: int, **options: Any) -> None:
        self.scale = scale
        super().__init__(**options)

    def to_representation(self, value: int) -> str:
        return as_decimal(value, self.scale)

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not isinstance(data, str | int):
            raise serializers.ValidationError(_('Not a decimal string such as "1.25".'), code="decimal_invalid")
        try:
            return from_decimal(data, self.scale)
        except Invalid as error:
            raise serializers.ValidationError(error.message, code=error.code) from None


def credits_field(**options: Any) -> DecimalStringField:
    """Micro-credits as a decimal string of credits."""
    return DecimalStringField(scale=MICRO_PER_CREDIT, **options)
