"""Named scores on executions."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from executions.models.executions import Execution
from executions.querysets import FeedbackQuerySet
from mlops.models.base import new_id


class Feedback(models.Model):
    """A named score on an execution, from a person or through the API; never changed."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    execution = models.ForeignKey(
        Execution, on_delete=models.CASCADE, related_name="feedback", db_constraint=False, verbose_name=_("execution")
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", verbose_name=_("user")
    )
    name = models.CharField(_("name"), max_length=63)
    score = models.FloatField(_("score"))
    comment = models.TextField(_("comment"), blank=True)
    expected = models.JSONField(_("expected output"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    objects = FeedbackQuerySet.as_manager()

    class Meta:
        verbose_name = _("feedback")
        verbose_name_plural = _("feedback")
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.name}: {self.score}"
