"""People and their tokens."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser, BaseUserManager, Group
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from simple_history import register
from simple_history.models import HistoricalRecords

from mlops.models.base import Record
from mlops.models.history import RecordsWithRelated, TracedHistory
from mlops.querysets import ApiTokenQuerySet, UserQuerySet
from mlops.types import MICRO_PER_CREDIT, Grant, Role, Scope

ROLE_CHOICES = [
    (Role.ADMIN.value, _("Admin")),
    (Role.ML_ENGINEER.value, _("ML engineer")),
    (Role.ML_USER.value, _("ML user")),
]


def every_scope() -> list[str]:
    return [scope.value for scope in Scope]


class UserManager(BaseUserManager.from_queryset(UserQuerySet)):  # type: ignore[misc]  # django-stubs: dynamic base
    """Creates accounts; `createsuperuser` gives the role admin."""

    def create_user(self, username: str, email: str = "", password: str | None = None, **fields: Any) -> User:
        fields.setdefault("role", Role.ML_USER.value)
        user = User(username=User.normalize_username(username), email=self.normalize_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, username: str, email: str = "", password: str | None = None, **fields: Any) -> User:
        return self.create_user(username, email, password, **{**fields, "role": Role.ADMIN.value})


class User(Record, AbstractUser):
    """An account. Its role says what it may do; `ml_credits` caches the balance that the ledger proves."""

    role = models.CharField(_("role"), max_length=16, choices=ROLE_CHOICES, default=Role.ML_USER.value)
    time_zone = models.CharField(_("time zone"), max_length=64, default="UTC")
    ml_credits = models.BigIntegerField(
        _("ML credits"), default=0, editable=False, help_text=_("Balance in micro-credits; the ledger is the truth.")
    )
    has_hard_limit = models.BooleanField(
        _("hard credit limit"),
        default=False,
        help_text=_("Stop this account at zero credits whatever its role. ML users are always stopped."),
    )
    rate_limit = models.PositiveIntegerField(
        _("rate limit"), null=True, blank=True, help_text=_("Requests per minute; empty: the installation's.")
    )

    grant: Grant | None = None
    """What the token that these requests came by allows; None where no token was used."""

    # Both follow from the role, so that no second switch can contradict it.
    is_staff = property(lambda self: self.role in (Role.ADMIN, Role.ML_ENGINEER))
    is_superuser = property(lambda self: self.role == Role.ADMIN)

    objects: ClassVar[Any] = UserManager()
    history = HistoricalRecords(bases=[TracedHistory], excluded_fields=["password", "ml_credits", "last_login"])

    REQUIRED_FIELDS: ClassVar[list[str]] = ["email"]

    class Meta:
        verbose_name = _("user")
        verbose_name_plural = _("users")
        ordering = ["username"]
        constraints = [
            models.CheckConstraint(condition=models.Q(role__in=[role.value for role in Role]), name="user_role_known"),
        ]

    def __str__(self) -> str:
        return self.username

    def check_password(self, raw_password: str | None) -> bool:
        """As Django's. A hash that it replaces by a stronger one is no change of the account."""
        self.skip_history_when_saving = True
        try:
            return super().check_password(raw_password)
        finally:
            del self.skip_history_when_saving

    @property
    def credits(self) -> float:
        """The cached balance in whole credits, for display."""
        return self.ml_credits / MICRO_PER_CREDIT

    @property
    def is_stopped_by_credits(self) -> bool:
        """Whether work is refused to this account once its credits are used up."""
        return self.role == Role.ML_USER or self.has_hard_limit


def member_ids(group: Group) -> list[str]:
    return [str(pk) for pk in group.user_set.order_by("pk").values_list("pk", flat=True)]


# Django's own model. Who is in a group decides what they see, so it remembers its members.
register(Group, app="mlops", records_class=RecordsWithRelated, bases=[TracedHistory], related={"members": member_ids})


class ApiToken(Record):
    """A bearer token: only its digest is kept, so it is shown once, when it is made."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_tokens", verbose_name=_("user"))
    name = models.CharField(_("name"), max_length=100)
    prefix = models.CharField(_("prefix"), max_length=16, editable=False)
    digest = models.CharField(_("digest"), max_length=64, unique=True, editable=False)
    scopes = models.JSONField(_("scopes"), default=every_scope)
    programs = models.JSONField(
        _("programs"), default=list, blank=True, help_text=_("Names of the programs it is good for; empty: all.")
    )
    rate_limit = models.PositiveIntegerField(
        _("rate limit"), null=True, blank=True, help_text=_("Requests per minute; empty: the installation's.")
    )
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)
    revoked_at = models.DateTimeField(_("revoked at"), null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(_("last used at"), null=True, blank=True, editable=False)
    replaced_by = models.OneToOneField(
        "self",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="replaces",
        editable=False,
        verbose_name=_("replaced by"),
    )
    made_by = models.ForeignKey(
        "self",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="made",
        editable=False,
        verbose_name=_("made by the token"),
    )

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}...)"

    @property
    def is_usable(self) -> bool:
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > timezone.now())
