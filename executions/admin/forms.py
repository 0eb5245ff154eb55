"""A form to execute a program, built from its inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _
from unfold.forms import BaseDialogForm
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminSingleDateWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from mlops.admin.forms import CreditsDialog, RefusableForm, ScaledDecimalField
from programs.types import FieldSpec, FieldType

PREFIX = "input"
_YES_NO = [("", "-"), ("true", _("yes")), ("false", _("no"))]


class ExecuteForm(RefusableForm):
    """One form field per input; what is left empty and is not required is left out of the input."""

    inside = "input."

    def __init__(self, inputs: Sequence[FieldSpec], data: Any = None) -> None:
        super().__init__(data, prefix=PREFIX)
        self.inputs = tuple(inputs)
        for spec in self.inputs:
            self.fields[spec.name] = _form_field(spec)

    def values(self) -> dict[str, Any]:
        """The program's input, typed; the runtime judges it like any other."""
        given = {spec.name: _typed(spec, self.cleaned_data[spec.name]) for spec in self.inputs}
        return {name: value for name, value in given.items() if value is not None}


def _form_field(spec: FieldSpec) -> forms.Field:
    common: dict[str, Any] = {
        "label": spec.name,
        "help_text": f"{spec.type_label}. {spec.description}".strip(),
        "required": spec.required and not spec.has_default,
        "initial": spec.default if spec.has_default else None,
    }
    if spec.is_list:
        return forms.JSONField(**common, widget=UnfoldAdminTextareaWidget({"rows": 4}))
    return _SINGLE[spec.type](spec, common)


_SINGLE: dict[FieldType, Callable[[FieldSpec, dict[str, Any]], forms.Field]] = {
    FieldType.STRING: lambda spec, common: forms.CharField(
        **common, strip=False, widget=UnfoldAdminTextareaWidget({"rows": 3})
    ),
    FieldType.INTEGER: lambda spec, common: forms.IntegerField(**common, widget=UnfoldAdminIntegerFieldWidget),
    FieldType.NUMBER: lambda spec, common: forms.FloatField(**common, widget=UnfoldAdminDecimalFieldWidget),
    FieldType.BOOLEAN: lambda spec, common: forms.ChoiceField(
        **common, choices=_YES_NO, widget=UnfoldAdminSelectWidget
    ),
    FieldType.DATE: lambda spec, common: forms.DateField(**common, widget=UnfoldAdminSingleDateWidget),
    FieldType.ENUM: lambda spec, common: forms.ChoiceField(
        **common,
        choices=[("", "-"), *((choice, choice) for choice in spec.choices)],
        widget=UnfoldAdminSelectWidget,
    ),
    FieldType.OBJECT: lambda spec, common: forms.JSONField(**common, widget=UnfoldAdminTextareaWidget({"rows": 4})),
}


def _typed(spec: FieldSpec, value: Any) -> Any:
    if value in ("", None):
        return None
    if spec.type is FieldType.BOOLEAN and not spec.is_list:
        return value == "true"
    if spec.type is FieldType.DATE and not spec.is_list:
        return value.isoformat()
    return value


class ReplayDialog(BaseDialogForm):  # type: ignore[misc]  # unfold has no types
    program = forms.CharField(
        label=_("Program"),
        required=False,
        help_text=_("Reference such as triage@latest; empty: the same version."),
        widget=UnfoldAdminTextInputWidget,
    )


class RefundDialog(CreditsDialog):
    amount = ScaledDecimalField(
        label=_("Credits"), required=False, help_text=_("Empty: all that is left of what it charged.")
    )


class RateDialog(BaseDialogForm):  # type: ignore[misc]  # unfold has no types
    name = forms.CharField(label=_("Name"), initial="quality", widget=UnfoldAdminTextInputWidget)
    score = forms.FloatField(
        label=_("Score"), min_value=0, max_value=1, help_text=_("From 0 to 1."), widget=UnfoldAdminDecimalFieldWidget
    )
    comment = forms.CharField(label=_("Comment"), required=False, widget=UnfoldAdminTextareaWidget({"rows": 3}))
