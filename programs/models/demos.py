"""The demos of prompt versions as rows, to find who used which."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from datasets.models import Example
from mlops.models.base import new_id
from programs.models.prompts import PromptVersion
from programs.querysets import DemoQuerySet


class Demo(models.Model):
    """One demo of a prompt version: which one it is, and the example that it was made from. What it holds stands in the
    version itself; equal demos have equal digests, wherever they are used."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    prompt_version = models.ForeignKey(
        PromptVersion,
        on_delete=models.CASCADE,
        related_name="demo_rows",
        db_index=False,
        verbose_name=_("prompt version"),
    )
    position = models.PositiveSmallIntegerField(_("position"))
    digest = models.CharField(_("digest"), max_length=64, help_text=_("SHA-256 of its canonical JSON."))
    example = models.ForeignKey(
        Example, on_delete=models.SET_NULL, null=True, related_name="+", verbose_name=_("example")
    )

    objects = DemoQuerySet.as_manager()

    class Meta:
        verbose_name = _("demo")
        verbose_name_plural = _("demos")
        ordering = ["prompt_version", "position"]
        constraints = [
            models.UniqueConstraint(fields=["prompt_version", "position"], name="demo_once_per_position"),
        ]
        indexes = [models.Index(fields=["digest"], name="demo_by_digest")]

    def __str__(self) -> str:
        return f"{self.prompt_version} #{self.position + 1}"
