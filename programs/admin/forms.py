"""Forms and dialogs of the pages of programs."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.forms import BaseDialogForm
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from mlops.admin.forms import ScaledDecimalField
from programs.models import Program, PromptVersion, Signature
from programs.types import ProgramStatus


class LowTextareas:
    """Mixed into inlines: JSON and text are two lines high, so that a row stays a row."""

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **options: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **options)  # type: ignore[misc]  # the inline's
        if field is not None and isinstance(field.widget, forms.Textarea):
            field.widget.attrs["rows"] = 2
        return field


class OptionalCreditsField(ScaledDecimalField):
    """Credits, or nothing."""

    def clean(self, value: Any) -> Any:
        return super().clean(value) if value not in self.empty_values else None


class ProgramForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    credits_per_execution = OptionalCreditsField(
        label=_("Credits per execution"),
        help_text=_("A fixed charge; without it the cost is charged."),
        required=False,
    )

    class Meta:
        model = Program
        fields = ("name", "description", "config", "credits_per_execution", "group")

    def clean_config(self) -> Any:
        """An emptied field is an empty config."""
        return self.cleaned_data["config"] or {}


class ModuleField(forms.ModelChoiceField):  # type: ignore[type-arg]  # not subscriptable at run time
    """Modules of all programs, so each is named with its own."""

    def label_from_instance(self, obj: Any) -> str:
        return f"{obj.program}: {obj}"


class PromptVersionForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    activate_now = forms.BooleanField(
        label=_("Activate"),
        help_text=_("Give it all the traffic of its module now; otherwise it waits to be evaluated."),
        required=False,
        widget=UnfoldBooleanSwitchWidget,
    )

    class Meta:
        model = PromptVersion
        fields = ("module", "version", "prompt_template", "demos")
        field_classes = {"module": ModuleField}
        help_texts = {
            "version": _("Counted when left out."),
            "demos": _("A list of objects with the fields of the signature."),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "version" in self.fields:
            self.fields["version"].required = False

    def clean_demos(self) -> Any:
        """An emptied field is no demos."""
        return self.cleaned_data["demos"] or []


class SignatureForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    shorthand = forms.CharField(
        label=_("Shorthand"),
        help_text=_("Instead of the fields below: question: str, context: list[str] -> answer: str"),
        required=False,
        widget=UnfoldAdminTextInputWidget,
    )

    class Meta:
        model = Signature
        fields = ("name", "instructions")


class ReasonDialog(BaseDialogForm):  # type: ignore[misc]  # unfold has no types
    reason = forms.CharField(label=_("Reason"), max_length=500, required=False, widget=UnfoldAdminTextareaWidget)


class RollBackDialog(ReasonDialog):
    """To which archived version of the same name; the one that was replaced last unless another is chosen."""

    to = forms.ModelChoiceField(
        label=_("Version"),
        queryset=Program.objects.none(),
        required=False,
        empty_label=_("The one that was replaced last"),
        widget=UnfoldAdminSelectWidget,
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        programs = Program.objects.visible_to(self.request.user)
        name = programs.filter(pk=self.object_id).values("name")
        self.fields["to"].queryset = programs.filter(name__in=name, status=ProgramStatus.ARCHIVED)
