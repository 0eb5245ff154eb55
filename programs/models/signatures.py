"""Signatures: what goes into a module and what comes out."""

from __future__ import annotations

from django.core.validators import RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _
from simple_history.models import HistoricalRecords

from mlops.models import Record
from mlops.models.base import new_id
from mlops.models.history import TracedHistory
from programs.querysets import SignatureQuerySet
from programs.types import FIELD_NAME_PATTERN, NAME_PATTERN, FieldSpec, FieldType, SignatureSpec

FIELD_TYPE_CHOICES = [
    (FieldType.STRING.value, _("String")),
    (FieldType.INTEGER.value, _("Integer")),
    (FieldType.NUMBER.value, _("Number")),
    (FieldType.BOOLEAN.value, _("Boolean")),
    (FieldType.DATE.value, _("Date")),
    (FieldType.ENUM.value, _("Enum")),
    (FieldType.OBJECT.value, _("Object")),
]


class Signature(Record):
    """A version of a named signature; frozen once a program that has left draft uses it."""

    name = models.CharField(_("name"), max_length=63, validators=[RegexValidator(NAME_PATTERN)])
    version = models.PositiveIntegerField(_("version"), default=1, editable=False)
    instructions = models.TextField(_("instructions"), blank=True)
    shape = models.JSONField(
        _("fields"), default=list, editable=False, help_text=_("Its fields once more, so that the history knows them.")
    )
    frozen_at = models.DateTimeField(_("frozen at"), null=True, editable=False)

    objects = SignatureQuerySet.as_manager()
    history = HistoricalRecords(bases=[TracedHistory])

    class Meta:
        verbose_name = _("signature")
        verbose_name_plural = _("signatures")
        ordering = ["name", "-version"]
        constraints = [models.UniqueConstraint(fields=["name", "version"], name="signature_version_once")]

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    def as_spec(self) -> SignatureSpec:
        """The signature as a value; prefetch `fields` when several are turned."""
        return SignatureSpec(self.name, self.instructions, tuple(item.as_spec() for item in self.fields.all()))


class SignatureField(models.Model):
    """One typed input or output of a signature."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    signature = models.ForeignKey(Signature, on_delete=models.CASCADE, related_name="fields")
    name = models.CharField(_("name"), max_length=63, validators=[RegexValidator(FIELD_NAME_PATTERN)])
    is_input = models.BooleanField(_("input"), default=True)
    position = models.PositiveSmallIntegerField(_("position"), default=0)
    type = models.CharField(_("type"), max_length=10, choices=FIELD_TYPE_CHOICES, default=FieldType.STRING.value)
    is_list = models.BooleanField(_("list"), default=False)
    description = models.TextField(_("description"), blank=True)
    required = models.BooleanField(_("required"), default=True)
    has_default = models.BooleanField(_("has default"), default=False)
    default = models.JSONField(_("default"), null=True, blank=True)
    choices = models.JSONField(_("choices"), default=list, blank=True)
    schema = models.JSONField(_("JSON Schema"), null=True, blank=True)
    constraints = models.JSONField(_("constraints"), default=dict, blank=True)

    class Meta:
        verbose_name = _("signature field")
        verbose_name_plural = _("signature fields")
        ordering = ["-is_input", "position"]
        constraints = [models.UniqueConstraint(fields=["signature", "name"], name="signature_field_name_once")]

    def __str__(self) -> str:
        return self.name

    def as_spec(self) -> FieldSpec:
        return FieldSpec(
            name=self.name,
            type=FieldType(self.type),
            is_list=self.is_list,
            is_input=self.is_input,
            description=self.description,
            required=self.required,
            has_default=self.has_default,
            default=self.default,
            choices=tuple(self.choices),
            schema=self.schema,
            constraints=self.constraints,
        )
