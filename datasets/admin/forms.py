"""The forms by which files are uploaded."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    UnfoldAdminFileFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from datasets.models import TYPE_CHOICES
from datasets.services.exports import offered_formats
from datasets.types import Duplicates
from mlops.admin.forms import RefusableForm

_FORMATS = [("", _("by the name of the file")), *((format.value, format.value) for format in offered_formats())]
ENCODINGS = [("", _("found out")), *((name, name) for name in ("utf-8", "utf-16", "latin-1", "cp1252"))]
_DUPLICATES = [(Duplicates.KEEP.value, _("keep, and report")), (Duplicates.DROP.value, _("drop, and report"))]


class OptionalJSON(forms.JSONField):
    """Empty when nothing was typed, where Django's own shows the word null."""

    def prepare_value(self, value: Any) -> Any:
        return "" if value is None else super().prepare_value(value)


def _json(label: Any, help_text: Any) -> forms.JSONField:
    return OptionalJSON(label=label, help_text=help_text, required=False, widget=UnfoldAdminTextareaWidget({"rows": 3}))


class FileForm(RefusableForm):
    """A file, what becomes of it, and the `options` of reading it."""

    inside = "options."
    options: ClassVar[tuple[str, ...]]

    def arguments(self) -> dict[str, Any]:
        """What the service is called with."""
        given = dict(self.cleaned_data)
        options = {name: value for name in self.options if (value := given.pop(name)) not in ("", None)}
        return {**given, "options": options}


class ImportForm(FileForm):
    options = ("encoding", "delimiter", "duplicates", "mapping", "types", "schema")

    file = forms.FileField(
        label=_("File"),
        allow_empty_file=True,
        widget=UnfoldAdminFileFieldWidget,
        help_text=_(
            "CSV and TSV with a header, JSON (an array of objects), JSON Lines, and Parquet where it is installed."
        ),
    )
    name = forms.CharField(label=_("Name"), widget=UnfoldAdminTextInputWidget)
    type = forms.ChoiceField(label=_("Type"), choices=TYPE_CHOICES, widget=UnfoldAdminSelectWidget)
    description = forms.CharField(label=_("Description"), required=False, widget=UnfoldAdminTextInputWidget)
    format = forms.ChoiceField(label=_("Format"), choices=_FORMATS, required=False, widget=UnfoldAdminSelectWidget)
    encoding = forms.ChoiceField(label=_("Encoding"), choices=ENCODINGS, required=False, widget=UnfoldAdminSelectWidget)
    delimiter = forms.CharField(
        label=_("Delimiter"),
        required=False,
        strip=False,
        max_length=1,
        widget=UnfoldAdminTextInputWidget,
        help_text=_("Of CSV; a comma unless given."),
    )
    duplicates = forms.ChoiceField(label=_("Duplicates"), choices=_DUPLICATES, widget=UnfoldAdminSelectWidget)
    mapping = _json(_("Mapping"), _('Column -> field, such as {"q": "question"}; other columns are left out.'))
    types = _json(_("Types"), _('Field -> type, such as {"id": "string"}; the others are found out.'))
    schema = _json(_("Schema"), _("JSON Schema that every example must fulfil."))
