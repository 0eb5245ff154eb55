"""Form fields and dialogs that several admin pages share."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, ClassVar

from django import forms
from django.contrib.auth.models import Group
from django.utils.translation import gettext_lazy as _
from unfold.forms import BaseDialogForm
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminPasswordWidget,
    UnfoldAdminSelectMultipleWidget,
    UnfoldAdminTextInputWidget,
)

from mlops.errors import DomainError, Invalid
from mlops.models import ApiToken, LanguageModel, ModelPrice, User
from mlops.models.base import new_id
from mlops.money import as_decimal, from_decimal
from mlops.services.token_limits import MAX_OVERLAP
from mlops.services.tokens import OVERLAP
from mlops.types import MICRO_PER_CREDIT, PICO_PER_USD, Scope

_NAME = re.compile(r"\w+")


class ScaledDecimalField(forms.CharField):
    """A decimal typed by a person, kept as a whole number of 1/`scale` units."""

    def __init__(self, *, scale: int = MICRO_PER_CREDIT, **options: Any) -> None:
        self.scale = scale
        super().__init__(**{"widget": UnfoldAdminTextInputWidget, "max_length": 40, **options})

    def prepare_value(self, value: Any) -> Any:
        return as_decimal(value, self.scale) if isinstance(value, int) else value

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        if not text and not self.required:
            return None
        try:
            return from_decimal(text, self.scale)
        except Invalid as error:
            raise forms.ValidationError(error.message, code=error.code) from None


class RefusableForm(forms.Form):
    """A form that tells what the service refused.

    `inside` begins the names of fields that the service is given together, such as `input.`.
    """

    inside: ClassVar[str] = ""

    def refuse(self, error: DomainError) -> None:
        """Show each problem beside its field, and what has no field above them all."""
        for problem in error.problems:
            name = _NAME.match(problem.field.removeprefix(self.inside))
            self.add_error(name[0] if name and name[0] in self.fields else None, problem.message)


class CreditsDialog(BaseDialogForm):  # type: ignore[misc]  # unfold has no types
    """How many credits, and why. Each dialog that is opened pays once, however often it is sent."""

    once = forms.UUIDField(widget=forms.HiddenInput, initial=new_id)
    amount = ScaledDecimalField(label=_("Credits"))
    note = forms.CharField(label=_("Note"), max_length=200, required=False, widget=UnfoldAdminTextInputWidget)


class PasswordDialog(BaseDialogForm):  # type: ignore[misc]  # unfold has no types
    password = forms.CharField(label=_("New password"), max_length=128, strip=False, widget=UnfoldAdminPasswordWidget)


class SecretDialog(BaseDialogForm):  # type: ignore[misc]  # unfold has no types
    """Write only: what is kept is never put into the form."""

    value = forms.CharField(label=_("Secret"), required=False, strip=False, widget=UnfoldAdminPasswordWidget)
    variable = forms.CharField(
        label=_("or the name of an environment variable"),
        help_text=_("SIGNET_LM_... or ..._API_KEY. Leave both empty to remove the secret."),
        required=False,
        widget=UnfoldAdminTextInputWidget,
    )


class OverlapDialog(BaseDialogForm):  # type: ignore[misc]  # unfold has no types
    overlap_hours = forms.IntegerField(
        label=_("Hours for which the old token stays usable"),
        min_value=0,
        max_value=MAX_OVERLAP // timedelta(hours=1),
        initial=OVERLAP // timedelta(hours=1),
        widget=UnfoldAdminIntegerFieldWidget,
    )


class TokenForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    scopes = forms.MultipleChoiceField(
        label=_("Scopes"),
        choices=[(scope.value, scope.value) for scope in Scope],
        initial=list(Scope),
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )
    programs = forms.CharField(
        label=_("Programs"),
        help_text=_("Names of the programs that it is good for, comma separated. Empty: all."),
        required=False,
        widget=UnfoldAdminTextInputWidget,
    )

    class Meta:
        model = ApiToken
        fields = ("name", "scopes", "programs", "rate_limit", "expires_at")

    def clean_programs(self) -> list[str]:
        return [name.strip() for name in self.cleaned_data["programs"].split(",") if name.strip()]


class FallbacksDialog(BaseDialogForm):  # type: ignore[misc]  # unfold has no types
    """Names in the order in which they are called."""

    fallbacks = forms.CharField(
        label=_("Fallbacks"),
        help_text=_("Names of language models in the order in which they stand in, comma separated."),
        required=False,
        widget=UnfoldAdminTextInputWidget,
    )

    def clean_fallbacks(self) -> list[LanguageModel]:
        names = [name.strip() for name in self.cleaned_data["fallbacks"].split(",") if name.strip()]
        found = {
            model.name: model for model in LanguageModel.objects.visible_to(self.request.user).filter(name__in=names)
        }
        for name in names:
            if name not in found:
                raise forms.ValidationError(_("There is no language model %(name)s."), params={"name": name})
        return [found[name] for name in names]


class GroupForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    members = forms.ModelMultipleChoiceField(
        label=_("Members"), queryset=User.objects.all(), required=False, widget=UnfoldAdminSelectMultipleWidget
    )

    class Meta:
        model = Group
        fields = ("name",)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if not self.instance._state.adding:
            self.fields["members"].initial = User.objects.filter(groups=self.instance)


class PriceForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    """Prices as people read them: dollars per million tokens."""

    input_price = ScaledDecimalField(label=_("Input ($ per million tokens)"))
    cached_input_price = ScaledDecimalField(label=_("Cached input ($ per million tokens)"))
    cache_write_price = ScaledDecimalField(
        label=_("Cache write ($ per million tokens)"), required=False, help_text=_("Empty: as input.")
    )
    output_price = ScaledDecimalField(label=_("Output ($ per million tokens)"))
    reasoning_price = ScaledDecimalField(
        label=_("Reasoning ($ per million tokens)"), required=False, help_text=_("Empty: as output.")
    )
    request_price = ScaledDecimalField(label=_("Per request ($)"), scale=PICO_PER_USD, required=False)

    class Meta:
        model = ModelPrice
        fields = (
            "model", "valid_from", "input_price", "cached_input_price", "cache_write_price", "output_price",
            "reasoning_price", "request_price", "input_limit", "source",
        )  # fmt: skip
