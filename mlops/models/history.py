"""What every history row says beyond who, when and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from django.db import models
from django.utils.translation import gettext_lazy as _
from simple_history.models import HistoricalRecords
from simple_history.signals import pre_create_historical_record

from mlops.origin import Edge, current_origin

SOURCE_CHOICES = [
    (Edge.ADMIN.value, _("Admin")),
    (Edge.REST.value, _("REST")),
    (Edge.GRAPHQL.value, _("GraphQL")),
    (Edge.TASK.value, _("Task")),
    (Edge.PYTHON.value, _("Python")),
]

Related: TypeAlias = Callable[[Any], "list[str]"]
"""The ids of the rows that belong to a record."""


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


class RecordsWithRelated(HistoricalRecords):  # type: ignore[misc]  # simple-history has no types
    """History that also keeps what belongs to a record but stands in rows of its own, such as the members of a group.

    `related` names columns of the history and says what each of them holds. A state from before there was the column
    has null there: nobody knows.
    """

    def __init__(self, *, related: Mapping[str, Related], **options: Any) -> None:
        self.related = related
        super().__init__(**options)

    def get_extra_fields(self, model: Any, fields: Any) -> dict[str, Any]:
        columns = {name: models.JSONField(_(name), null=True) for name in self.related}
        return {**super().get_extra_fields(model, fields), **columns, "related_columns": tuple(self.related)}

    def finalize(self, sender: Any, **signal: Any) -> None:
        super().finalize(sender, **signal)
        if sender is self.cls:
            states = getattr(sender, self.manager_name).model
            pre_create_historical_record.connect(self._fill, sender=states, weak=False)

    def _fill(self, sender: object, *, instance: Any, history_instance: Any, **signal: Any) -> None:
        for name, ids in self.related.items():
            setattr(history_instance, name, ids(instance))
