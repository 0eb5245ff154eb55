"""By what lists of this app are filtered, on every edge."""

from __future__ import annotations

from django_filters import rest_framework as filters

from mlops.models import ApiToken, Budget, CreditEntry, LanguageModel, ModelPrice, User


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
