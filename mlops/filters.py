"""By what lists of this app are filtered, on every edge; and how much any list may be asked to look for."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django_filters import rest_framework as filters
from django_filters.fields import MultipleChoiceField
from rest_framework.filters import SearchFilter

from mlops.errors import Invalid
from mlops.models import ApiToken, Budget, CreditEntry, LanguageModel, ModelPrice, User

MAX_SEARCH_CHARACTERS = 200
MAX_SEARCH_WORDS = 20


def refuse_long_search(text: str) -> None:
    """Each word is looked for in every column of a search. Raises `Invalid` (`search_too_long`)."""
    if len(text) > MAX_SEARCH_CHARACTERS or len(text.replace(",", " ").split()) > MAX_SEARCH_WORDS:
        raise Invalid(
            "search_too_long",
            _("A search has at most %(words)d words and %(characters)d characters.")
            % {"words": MAX_SEARCH_WORDS, "characters": MAX_SEARCH_CHARACTERS},
            field="search",
        )


class BoundedSearchFilter(SearchFilter):
    """`?search=`, of so many words. Raises `Invalid` (`search_too_long`)."""

    def get_search_terms(self, request: Any) -> list[str]:
        refuse_long_search(request.query_params.get(self.search_param, ""))
        return super().get_search_terms(request)

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        schema = {"type": "string", "maxLength": MAX_SEARCH_CHARACTERS}
        searchable = super().get_schema_operation_parameters(view) if hasattr(view, "search_fields") else []
        return [{**described, "schema": schema} for described in searchable]


class ChoicesField(MultipleChoiceField):  # type: ignore[misc]  # django-filter has no types
    """Raises `ValidationError` (`too_many_values`) for more values than there are choices."""

    def validate(self, value: Any) -> None:
        if len(value) > len(self.choices):
            raise ValidationError(_("There are more values than choices."), code="too_many_values")
        super().validate(value)


class AnyOfFilter(filters.MultipleChoiceFilter):  # type: ignore[misc]  # django-filter has no types
    """Rows whose column has one of the values given."""

    field_class = ChoicesField


class ApiTokenFilter(filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    user = filters.UUIDFilter(field_name="user_id")

    class Meta:
        model = ApiToken
        fields: tuple[str, ...] = ("user", "prefix")


class BudgetFilter(filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    user = filters.UUIDFilter(field_name="user_id")
    language_model = filters.UUIDFilter(field_name="language_model_id")

    class Meta:
        model = Budget
        fields: tuple[str, ...] = ("scope", "period", "program", "is_enabled")


class CreditEntryFilter(filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    user = filters.UUIDFilter(field_name="user_id")
    subject_id = filters.UUIDFilter()

    class Meta:
        model = CreditEntry
        fields: tuple[str, ...] = ("user", "kind", "subject_id")


class LanguageModelFilter(filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    class Meta:
        model = LanguageModel
        fields: tuple[str, ...] = ("name", "kind", "is_enabled", "is_default")


class ModelPriceFilter(filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    language_model = filters.UUIDFilter(field_name="model_id")

    class Meta:
        model = ModelPrice
        fields: tuple[str, ...] = ("language_model",)


class UserFilter(filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    class Meta:
        model = User
        fields: tuple[str, ...] = ("role", "is_active", "username")
