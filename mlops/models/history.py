"""What every history row says beyond who, when and why."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from mlops.origin import Edge, current_origin

SOURCE_CHOICES = [
    (Edge.ADMIN.value, _("Admin")),
    (Edge.REST.value, _("REST")),
    (Edge.GRAPHQL.value, _("GraphQL")),
    (Edge.TASK.value, _("Task")),
    (Edge.PYTHON.value, _("Python")),
]


def current_source() -> str:
    return current_origin().source.value


def current_request_id() -> str:
    return current_origin().request_id


class TracedHistory(models.Model):
    """Abstract: a past state of a row knows through which edge it came and in answer to which request."""

    history_source = models.CharField(_("source"), max_length=8, choices=SOURCE_CHOICES, default=current_source)
    history_request_id = models.CharField(
        _("request"), max_length=64, blank=True, default=current_request_id, db_index=True
    )

    class Meta:
        abstract = True
