"""The page of failed log-ins, and the answer to somebody who is locked out."""

from __future__ import annotations

from typing import Any

from axes.admin import IsLockedOutFilter
from axes.helpers import get_client_ip_address
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.signals import user_login_failed
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.enums import ActionVariant
from unfold.forms import AuthenticationForm

from mlops.admin.base import ServiceAdmin, actor_of
from mlops.admin.buttons import bulk_action, button
from mlops.errors import TooMany
from mlops.models import User
from mlops.policies import lockout_policy
from mlops.services.lockouts import seconds_locked, unlock_login
from mlops.services.rates import check_login_rate

USERNAME_LENGTH = 150
"""Of Django's accounts; its form only tells browsers."""


class LoginForm(AuthenticationForm):  # type: ignore[misc]  # unfold has no types
    """Counts a right password of somebody whom the admin site is not for as a failure.

    It is answered as a wrong one, so it must also lead to the same lock.
    """

    def clean_username(self) -> str:
        """A name that is too long for an account is one that nobody has, and too long to be counted."""
        username: str = self.cleaned_data["username"]
        if len(username) > USERNAME_LENGTH:
            raise self.get_invalid_login_error()
        return username

    def clean(self) -> dict[str, Any]:
        """A lock is of one name: whoever tries many is slowed down by the address that they come from.

        The middleware of django-axes puts its answer to a lock, `locked_out`, in the place of the form.
        """
        try:
            check_login_rate(get_client_ip_address(self.request))
        except TooMany as refusal:
            self.request.axes_locked_out = True
            self.request.login_throttled_s = refusal.extra["retry_after_s"]
            raise self.get_invalid_login_error() from None
        cleaned: dict[str, Any] = super().clean()
        return cleaned

    def confirm_login_allowed(self, user: User) -> None:
        try:
            super().confirm_login_allowed(user)
        except ValidationError:
            user_login_failed.send(__name__, credentials={"username": user.username}, request=self.request)
            raise


admin.site.login_form = LoginForm


def locked_out(request: HttpRequest, response: HttpResponse, credentials: dict[str, Any] | None) -> HttpResponse:
    """The answer to a log-in of a name that failed too often from this address, whether there is such a name or not,
    and to one from an address that tried too often within a minute."""
    throttled_s: int = getattr(request, "login_throttled_s", 0)
    seconds = throttled_s or _seconds_locked(request)
    context = {**admin.site.each_context(request), "title": _("Locked"), "minutes": -(-seconds // 60)}
    context["throttled_s"] = throttled_s
    page = render(request, "mlops/admin/locked_out.html", context, status=429)
    page.headers["Retry-After"] = str(seconds)
    return page


def _seconds_locked(request: HttpRequest) -> int:
    username = request.axes_credentials["username"]  # type: ignore[attr-defined]  # set by django-axes
    return seconds_locked(username=username, address=request.axes_ip_address)  # type: ignore[attr-defined]


def _unlock(request: HttpRequest, row: AccessAttempt, data: dict[str, Any] | None = None) -> None:
    unlock_login(actor=actor_of(request), attempt=row)


@admin.register(AccessAttempt)
class AccessAttemptAdmin(ServiceAdmin):
    """Who failed to log in, from where; what was typed beside the name is not shown."""

    policy = lockout_policy
    list_display = ("username", "ip_address", "failures_since_start", "is_locked", "attempt_time")
    list_filter = (IsLockedOutFilter,)
    search_fields = ("username", "ip_address")
    ordering = ("-attempt_time",)
    fields = readonly_fields = (*list_display, "user_agent", "path_info")
    buttons = ("unlock",)
    actions = ("unlock_selected",)

    unlock = button(
        "unlock",
        _("Unlock"),
        _unlock,
        description=_("Forgets the failed log-ins of this name from this address, so that it may be tried again."),
        icon="lock_open",
        variant=ActionVariant.PRIMARY,
    )
    unlock_selected = bulk_action("unlock_selected", _("Unlock selected log-ins"), _unlock, action="unlock")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        # A model of django-axes has no visible_to: who may see one attempt may see all.
        attempts: QuerySet[Any] = ModelAdmin.get_queryset(self, request)
        return attempts

    @display(description=_("locked"), boolean=True)  # type: ignore[untyped-decorator]  # unfold has no types
    def is_locked(self, row: AccessAttempt) -> bool:
        return bool(row.failures_since_start >= settings.AXES_FAILURE_LIMIT)
