"""One's own password: Django's form, and the service that changes it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.views import PasswordChangeView
from django.http import HttpResponse, HttpResponseRedirect
from django.urls import reverse_lazy
from unfold.forms import AdminOwnPasswordChangeForm

from mlops.admin.base import actor_of
from mlops.errors import DomainError
from mlops.services.users import change_own_password


class OwnPasswordView(PasswordChangeView):
    """In place of the site's own page, whose form saves the account itself."""

    form_class = AdminOwnPasswordChangeForm
    success_url = reverse_lazy("admin:password_change_done")

    def get_context_data(self, **context: Any) -> dict[str, Any]:
        return {**super().get_context_data(**context), **admin.site.each_context(self.request)}

    def form_valid(self, form: Any) -> HttpResponse:
        try:
            user = change_own_password(actor=actor_of(self.request), password=form.cleaned_data["new_password1"])
        except DomainError as error:
            form.add_error("new_password1", error.message)
            return self.form_invalid(form)
        update_session_auth_hash(self.request, user)  # whoever changes it stays signed in here, and nowhere else
        return HttpResponseRedirect(self.get_success_url())
