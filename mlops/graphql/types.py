"""Types of the foundation's records."""

from __future__ import annotations

from mlops.graphql.records import Listed, Record
from mlops.graphql.scalars import Money
from mlops.models import LanguageModel, User
from mlops.types import MICRO_PER_CREDIT

TIMES = ("created_at", "updated_at")


class UserType(Record):
    """An account. People see their own, admins see all."""

    class Meta:
        name = "User"
        model = User
        fields = (
            "id", "username", "email", "first_name", "last_name", "role", "time_zone", "has_hard_limit", "rate_limit",
            "is_active", *TIMES,
        )  # fmt: skip
        listed = Listed()

    credits = Money("ml_credits", MICRO_PER_CREDIT)


class LanguageModelType(Record):
    """A model that may be called. Its secret is never shown."""

    class Meta:
        name = "LanguageModel"
        model = LanguageModel
        fields = ("id", "name", "kind", "is_enabled", "is_default", *TIMES)
        listed = Listed()
