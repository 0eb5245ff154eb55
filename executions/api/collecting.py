"""Collecting executions as a dataset over REST."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from datasets.api.serializers import DatasetSerializer
from datasets.models import TYPE_CHOICES, Dataset
from executions.filters import within_the_calendar
from executions.services.collecting import MAX_EXAMPLES, collect_examples
from mlops.api.serializers import StrictSerializer
from mlops.api.viewsets import RecordViewSet


class CollectBody(StrictSerializer):
    name = serializers.CharField(help_text="Of the dataset; its next version is made.")
    type = serializers.ChoiceField(TYPE_CHOICES)
    program = serializers.CharField(required=False, help_text="By id, `name@version`, or `name` for all its versions.")
    feedback_name = serializers.CharField(required=False, help_text="Only executions with feedback of that name.")
    min_score = serializers.FloatField(required=False, min_value=0, max_value=1)
    max_score = serializers.FloatField(required=False, min_value=0, max_value=1)
    since = serializers.DateTimeField(required=False, validators=[within_the_calendar])
    until = serializers.DateTimeField(required=False, validators=[within_the_calendar], help_text="Excluded.")
    executions = serializers.ListField(child=serializers.UUIDField(), required=False, max_length=MAX_EXAMPLES)
    limit = serializers.IntegerField(default=1_000, min_value=1, max_value=MAX_EXAMPLES, help_text="The newest ones.")
    description = serializers.CharField(required=False, allow_blank=True)


class CollectViewSet(RecordViewSet):
    """Completed executions become the next version of a dataset."""

    queryset = Dataset.objects.all()
    serializer_class = DatasetSerializer
    verbs = {"collect": collect_examples}
    makes = ("collect",)
    writes = {"collect": CollectBody}

    def collect(self, request: Request) -> Response:
        """Make a dataset from executions: input and output, or what people said was expected, as one example each."""
        fields: dict[str, Any] = self.arguments()
        dataset = collect_examples(actor=self.actor, **fields)
        return self.answer_made(dataset, f"/api/v1/datasets/{dataset.pk}/")
