"""Admin pages of people, tokens and credits."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import django.contrib.auth.admin  # noqa: F401  # registers its own page of Group, which ours replaces
from django.contrib import admin, messages
from django.contrib.auth.models import Group
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.enums import ActionVariant

from mlops.admin.base import RecordAdmin, ServiceAdmin, actor_of
from mlops.admin.buttons import bulk_action, button
from mlops.admin.forms import CreditsDialog, GroupForm, OverlapDialog, PasswordDialog, TokenForm
from mlops.models import ApiToken, CreditEntry, User
from mlops.money import as_decimal
from mlops.policies import credit_policy, group_policy, token_policy, user_policy
from mlops.services import groups, users
from mlops.services.credits import grant_credits, refund_credits
from mlops.services.tokens import create_token, revoke_token, rotate_token
from mlops.types import MICRO_PER_CREDIT


def _grant(request: HttpRequest, row: User, data: dict[str, Any]) -> None:
    key = f"grant:{data['once']}"
    grant_credits(actor=actor_of(request), user=row, amount=data["amount"], key=key, note=data["note"])


def _refund(request: HttpRequest, row: User, data: dict[str, Any]) -> None:
    key = f"refund:{data['once']}"
    refund_credits(actor=actor_of(request), user=row, amount=data["amount"], key=key, note=data["note"])


def _deactivate(request: HttpRequest, row: User, data: dict[str, Any] | None = None) -> None:
    users.deactivate_user(actor=actor_of(request), user=row)


def _anonymise(request: HttpRequest, row: User, data: dict[str, Any]) -> None:
    users.anonymise_user(actor=actor_of(request), user=row)


def _set_password(request: HttpRequest, row: User, data: dict[str, Any]) -> None:
    users.set_password(actor=actor_of(request), user=row, password=data["password"])


def _rotate(request: HttpRequest, row: ApiToken, data: dict[str, Any]) -> None:
    overlap = timedelta(hours=data["overlap_hours"])
    _token, raw = rotate_token(actor=actor_of(request), token=row, overlap=overlap)
    _show_secret(request, raw)


def _show_secret(request: HttpRequest, raw: str) -> None:
    words = _now("Copy the token now, it is not shown again:")
    messages.warning(request, format_html("{} <code>{}</code>", words, raw))


def _revoke(request: HttpRequest, row: ApiToken, data: dict[str, Any] | None = None) -> None:
    revoke_token(actor=actor_of(request), token=row)


@admin.register(User)
class UserAdmin(RecordAdmin):
    policy = user_policy
    add_action, change_action = "create", "change"
    list_display = ("username", "role_label", "email", "credits_text", "is_active", "last_login")
    list_filter = ("role", "is_active")
    search_fields = ("username", "email", "first_name", "last_name")
    fieldsets = (
        (None, {"fields": ("username", "role", "is_active")}),
        (_("Person"), {"fields": ("first_name", "last_name", "email", "time_zone")}),
        (_("Credits"), {"fields": ("credits_text", "has_hard_limit")}),
        (_("Requests"), {"fields": ("rate_limit",)}),
        (_("Times"), {"fields": ("created_at", "updated_at", "last_login")}),
    )
    add_fieldsets = ((None, {"fields": ("username", "role", "email", "time_zone", "has_hard_limit", "rate_limit")}),)
    readonly_fields = ("is_active", "credits_text", "created_at", "updated_at", "last_login")
    buttons = ("grant_credits", "refund_credits", "set_password", "deactivate", "anonymise")
    actions = ("deactivate_selected",)

    grant_credits = button("grant_credits", _("Grant credits"), _grant, form_class=CreditsDialog, icon="add_card")
    refund_credits = button(
        "refund_credits",
        _("Refund credits"),
        _refund,
        form_class=CreditsDialog,
        description=_("Gives back what was charged wrongly."),
        icon="currency_exchange",
    )
    set_password = button(
        "set_password", _("Set password"), _set_password, action="change", form_class=PasswordDialog, icon="password"
    )
    deactivate = button(
        "deactivate",
        _("Deactivate"),
        _deactivate,
        description=_("No login and no token of this account works any more. Its rows stay."),
        available=lambda row: row.is_active,
        icon="person_off",
        variant=ActionVariant.WARNING,
    )
    anonymise = button(
        "anonymise",
        _("Anonymise"),
        _anonymise,
        action="deactivate",
        description=_("Deactivates the account and forgets name, email, password and tokens. It cannot be undone."),
        icon="person_remove",
        variant=ActionVariant.DANGER,
    )
    deactivate_selected = bulk_action(
        "deactivate_selected", _("Deactivate selected users"), _deactivate, action="deactivate"
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return (*self.readonly_fields, "username") if obj else self.readonly_fields

    def perform_create(self, request: HttpRequest, fields: dict[str, Any]) -> User:
        return users.create_user(actor=actor_of(request), **fields)

    def perform_update(self, request: HttpRequest, row: User, fields: dict[str, Any]) -> User:
        return users.update_user(actor=actor_of(request), user=row, fields=fields)

    @display(
        description=_("role"), ordering="role", label={"admin": "danger", "ml_engineer": "info", "ml_user": "success"}
    )  # type: ignore[untyped-decorator]  # unfold has no types
    def role_label(self, row: User) -> tuple[str, str]:
        return row.role, row.get_role_display()

    @admin.display(description=_("credits"), ordering="ml_credits")
    def credits_text(self, row: User) -> str:
        return as_decimal(row.ml_credits, MICRO_PER_CREDIT)


@admin.register(ApiToken)
class ApiTokenAdmin(ServiceAdmin):
    policy = token_policy
    add_action = "create"
    form = TokenForm
    list_display = (
        "name",
        "prefix",
        "user",
        "scopes_text",
        "programs_text",
        "last_used_at",
        "expires_at",
        "revoked_at",
        "replaced_by",
    )
    list_select_related = ("user", "replaced_by")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter),)
    search_fields = ("name", "prefix", "user__username")
    fields = (
        "name",
        "user",
        "prefix",
        "scopes_text",
        "programs_text",
        "rate_limit",
        "expires_at",
        "revoked_at",
        "replaced_by",
        "made_by",
        "last_used_at",
        "created_at",
    )
    add_fieldsets = (
        (
            None,
            {
                "fields": ("name", "scopes", "programs", "rate_limit", "expires_at"),
                "description": _("A token for yourself."),
            },
        ),
    )
    readonly_fields = (
        "user",
        "prefix",
        "scopes_text",
        "programs_text",
        "revoked_at",
        "replaced_by",
        "made_by",
        "last_used_at",
        "created_at",
    )
    buttons = ("rotate", "revoke")
    actions = ("revoke_selected",)

    rotate = button(
        "rotate",
        _("Rotate"),
        _rotate,
        form_class=OverlapDialog,
        description=_("Makes a token of the same name and limits to use instead."),
        available=lambda row: row.is_usable and row.replaced_by_id is None,
        icon="autorenew",
    )
    revoke = button(
        "revoke",
        _("Revoke"),
        _revoke,
        description=_("The token becomes useless for ever."),
        available=lambda row: row.revoked_at is None,
        icon="key_off",
        variant=ActionVariant.DANGER,
    )
    revoke_selected = bulk_action("revoke_selected", _("Revoke selected tokens"), _revoke, action="revoke")

    def perform_create(self, request: HttpRequest, fields: dict[str, Any]) -> ApiToken:
        actor = actor_of(request)
        token, raw = create_token(actor=actor, user=actor, **fields)
        _show_secret(request, raw)
        return token

    @admin.display(description=_("scopes"))
    def scopes_text(self, row: ApiToken) -> str:
        return ", ".join(row.scopes)

    @admin.display(description=_("programs"))
    def programs_text(self, row: ApiToken) -> str:
        return ", ".join(row.programs) or _now("all")


@admin.register(CreditEntry)
class CreditEntryAdmin(ServiceAdmin):
    policy = credit_policy
    list_display = ("created_at", "user", "kind", "amount_text", "used_text", "note", "granted_by")
    list_select_related = ("user", "granted_by")
    list_filter = ("kind",)
    search_fields = ("user__username", "key__exact")
    fields = (
        "user",
        "kind",
        "amount_text",
        "used_text",
        "subject_kind",
        "subject_id",
        "note",
        "granted_by",
        "created_at",
    )

    @admin.display(description=_("amount"), ordering="amount")
    def amount_text(self, row: CreditEntry) -> str:
        return as_decimal(row.amount, MICRO_PER_CREDIT)

    @admin.display(description=_("used"))
    def used_text(self, row: CreditEntry) -> str:
        return as_decimal(row.used, MICRO_PER_CREDIT)


admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(RecordAdmin):
    """Groups limit who sees a program. They hold no permissions: those follow from the role."""

    policy = group_policy
    add_action, change_action, delete_action = "create", "change", "delete"
    form = GroupForm
    list_display = ("name", "size")
    search_fields = ("name",)
    fields = ("name", "members")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        # Django's own model has no visible_to: who may see one group may see all.
        groups_with_size: QuerySet[Any] = ModelAdmin.get_queryset(self, request).annotate(size=Count("user"))
        return groups_with_size

    def perform_create(self, request: HttpRequest, fields: dict[str, Any]) -> Group:
        return groups.create_group(actor=actor_of(request), name=fields["name"], members=fields["members"])

    def perform_update(self, request: HttpRequest, row: Group, fields: dict[str, Any]) -> Group:
        return groups.update_group(actor=actor_of(request), group=row, **fields)

    def perform_delete(self, request: HttpRequest, row: Group) -> None:
        groups.delete_group(actor=actor_of(request), group=row)

    @admin.display(description=_("members"))
    def size(self, row: Any) -> int:
        return int(row.size)
