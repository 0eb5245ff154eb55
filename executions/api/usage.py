"""`/usage/` and `/programs/{ref}/cost/`: what was used, by day, program, version, prompt version, user or model."""

from __future__ import annotations

from datetime import date
from typing import Any

from django.http import Http404
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from executions.models.usage import USAGE_KIND_CHOICES
from executions.representation import time_of, usd
from executions.selectors.usage import (
    MAX_PAGE,
    Figures,
    Group,
    UsageQuery,
    UsageReport,
    month_before,
    tomorrow,
    usage_report,
)
from executions.services.usage import usage_csv
from executions.types import GroupBy, UsageKind
from mlops.api.serializers import ParametersSerializer, StrictSerializer
from mlops.api.streams import streamed
from mlops.errors import Invalid
from mlops.models import User
from mlops.money import as_decimal
from mlops.policies import engineers
from mlops.types import MICRO_PER_CREDIT
from programs.selectors import access_program

PAGE, LAST_PAGE = 100, 10_000
IN_GROUPS = {
    "program_id": "id",
    "program__name": "program",
    "program__version": "version",
    "prompt_set__versions": "id",
    "prompt_set__versions__version": "prompt_version",
    "prompt_set__versions__module__key": "module",
    "user_id": "id",
    "user__username": "user",
}
"""How the columns of a group are called on the wire, where not as they are."""


class PeriodParameters(ParametersSerializer):
    since = serializers.DateField(required=False, help_text="The first day, in UTC; else 30 days are told.")
    until = serializers.DateField(required=False, help_text="The day after the last one; else tomorrow.")
    latency = serializers.BooleanField(default=True, help_text="Without percentiles a long report is faster.")
    page = serializers.IntegerField(default=1, min_value=1, max_value=LAST_PAGE)
    page_size = serializers.IntegerField(default=PAGE, min_value=1, max_value=MAX_PAGE)
    format = serializers.ChoiceField(["json", "csv"], required=False)


class UsageParameters(PeriodParameters):
    group_by = serializers.ChoiceField([group.value for group in GroupBy], default=GroupBy.DAY.value)
    program = serializers.CharField(default="", help_text="By id, name, or name and version such as `triage@3`.")
    user = serializers.UUIDField(required=False)
    language_model = serializers.CharField(default="", help_text="By name.")
    kind = serializers.ChoiceField(USAGE_KIND_CHOICES, required=False)


class TokensSerializer(StrictSerializer):
    input = serializers.IntegerField()
    cached = serializers.IntegerField()
    cache_write = serializers.IntegerField()
    output = serializers.IntegerField()
    reasoning = serializers.IntegerField()


class CostByKindSerializer(StrictSerializer):
    execution = serializers.CharField()
    evaluation = serializers.CharField()
    optimization = serializers.CharField()


class LatencySerializer(StrictSerializer):
    """Of executions that completed or failed; off by at most 4.4 %."""

    count = serializers.IntegerField()
    p50_ms = serializers.FloatField()
    p90_ms = serializers.FloatField()
    p95_ms = serializers.FloatField()
    p99_ms = serializers.FloatField()


class FiguresSerializer(StrictSerializer):
    executions = serializers.IntegerField()
    failed = serializers.IntegerField()
    cancelled = serializers.IntegerField()
    error_rate = serializers.FloatField(allow_null=True)
    evaluations = serializers.IntegerField()
    optimizations = serializers.IntegerField()
    calls = serializers.IntegerField(help_text="Calls of language models that were billed.")
    tokens = TokensSerializer()
    cost_usd = serializers.CharField(help_text="Decimal string, of known prices.")
    cost_by_kind = CostByKindSerializer()
    unpriced = serializers.IntegerField(help_text="How many are of unknown cost, and not in the cost.")
    credits = serializers.CharField()
    latency = LatencySerializer(allow_null=True)


class UsageGroupSerializer(FiguresSerializer):
    group = serializers.DictField(help_text="What the figures are of, such as `day`, or `id`, `program` and `version`.")


class UsageSerializer(StrictSerializer):
    group_by = serializers.CharField()
    since = serializers.DateField()
    until = serializers.DateField()
    counted_until = serializers.DateTimeField(help_text="Everything that ended before is in the figures.")
    total = FiguresSerializer()
    groups = UsageGroupSerializer(many=True)
    has_more = serializers.BooleanField()


class ProgramCostSerializer(UsageSerializer):
    monthly_cost_usd = serializers.CharField(
        allow_null=True, help_text="Of the last 30 days, for everybody; null for whom only their own usage concerns."
    )


class CSVRenderer(JSONRenderer):
    """Says that there is such a form. The file itself is streamed; what is rendered is a refusal."""

    media_type, format = "text/csv", "csv"


class UsageView(APIView):
    """What ended in a period, by what `group_by` says."""

    renderer_classes = [JSONRenderer, CSVRenderer]
    parameters: type[PeriodParameters] = UsageParameters

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        try:
            return super().perform_content_negotiation(request, force)
        except Http404:
            raise Invalid("format_unknown", _("Name json or csv."), field="format") from None

    @extend_schema(  # type: ignore[untyped-decorator]  # drf-spectacular has no types
        operation_id="usage_list",
        tags=["usage"],
        parameters=[UsageParameters],
        responses={
            200: UsageSerializer,
            (200, "text/csv"): OpenApiResponse(OpenApiTypes.STR, "All groups, streamed."),
        },
    )
    def get(self, request: Request) -> HttpResponseBase:
        """Admins see everything, engineers the programs in their reach, others their own usage. Days are UTC days. By
        prompt version, an execution counts for each prompt version that it used; by language model, for each of them.
        """
        asked = self.asked(request)
        query = _query(asked)
        if _wants_csv(request):
            return _file(_actor(request), query)
        return Response(_report(_paged(request, query, asked)))

    def asked(self, request: Request) -> dict[str, Any]:
        serializer = self.parameters(data=request.query_params.dict())
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)


class ProgramCostView(UsageView):
    """What a program version cost, day by day."""

    parameters = PeriodParameters

    @extend_schema(  # type: ignore[untyped-decorator]  # drf-spectacular has no types
        operation_id="programs_cost",
        tags=["usage"],
        parameters=[PeriodParameters],
        responses={
            200: ProgramCostSerializer,
            (200, "text/csv"): OpenApiResponse(OpenApiTypes.STR, "All days, streamed."),
        },
    )
    def get(self, request: Request, ref: str) -> HttpResponseBase:
        """Evaluations and optimizations included, and told apart. An ml_user sees the cost of their own executions."""
        asked = self.asked(request)
        actor = _actor(request)
        program = access_program(actor=actor, ref=ref)
        query = _query({"group_by": GroupBy.DAY.value, "program": str(program.pk), **asked})
        if _wants_csv(request):
            return _file(actor, query)
        monthly = usd(program.monthly_cost) if engineers(actor, program) else None
        return Response({"monthly_cost_usd": monthly, **_report(_paged(request, query, asked))})


def _actor(request: Request) -> User:
    actor: User = request.user  # type: ignore[assignment]  # IsAuthenticated stands before
    return actor


def _query(asked: dict[str, Any]) -> UsageQuery:
    until = asked.get("until") or tomorrow()
    kind = asked.get("kind")
    return UsageQuery(
        GroupBy(asked["group_by"]),
        asked.get("since") or month_before(until),
        until,
        program=asked.get("program", ""),
        user=asked.get("user"),
        language_model=asked.get("language_model", ""),
        kind=UsageKind(kind) if kind else None,
        with_latency=asked["latency"],
    )


def _paged(request: Request, query: UsageQuery, asked: dict[str, Any]) -> UsageReport:
    size = asked["page_size"]
    return usage_report(actor=_actor(request), query=query, offset=(asked["page"] - 1) * size, size=size)


def _wants_csv(request: Request) -> bool:
    return bool(request.accepted_renderer.format == CSVRenderer.format)


def _file(actor: User, query: UsageQuery) -> HttpResponseBase:
    usage_report(actor=actor, query=query, size=1)  # what is refused is refused before the file begins
    response = streamed(usage_csv(actor, query), "text/csv; charset=utf-8")
    name = f"usage-by-{query.group_by.value}-{query.since}-{query.until}.csv"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _report(report: UsageReport) -> dict[str, Any]:
    query = report.query
    return {
        "group_by": query.group_by.value,
        "since": query.since.isoformat(),
        "until": query.until.isoformat(),
        "counted_until": time_of(report.counted_until),
        "total": _figures(report.total),
        "groups": [_group(group) for group in report.groups],
        "has_more": report.has_more,
    }


def _group(group: Group) -> dict[str, Any]:
    of = {IN_GROUPS.get(key, key): _plain(value) for key, value in group.of.items()}
    return {"group": of, **_figures(group.figures)}


def _plain(value: Any) -> Any:
    if isinstance(value, date):
        return value.isoformat()
    return value if value is None or isinstance(value, int) else str(value)


def _figures(found: Figures) -> dict[str, Any]:
    latency = found.latency
    return {
        "executions": found.executions,
        "failed": found.failed,
        "cancelled": found.cancelled,
        "error_rate": found.error_rate,
        "evaluations": found.evaluations,
        "optimizations": found.optimizations,
        "calls": found.calls,
        "tokens": {
            "input": found.input_tokens,
            "cached": found.cached_tokens,
            "cache_write": found.cache_write_tokens,
            "output": found.output_tokens,
            "reasoning": found.reasoning_tokens,
        },
        "cost_usd": usd(found.cost),
        "cost_by_kind": {
            "execution": usd(found.execution_cost),
            "evaluation": usd(found.evaluation_cost),
            "optimization": usd(found.optimization_cost),
        },
        "unpriced": found.unpriced,
        "credits": as_decimal(found.credits, MICRO_PER_CREDIT),
        "latency": None
        if latency is None
        else {
            "count": latency.count,
            **{name: round(getattr(latency, name), 3) for name in ("p50_ms", "p90_ms", "p95_ms", "p99_ms")},
        },
    }
