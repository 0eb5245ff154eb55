"""What was used, read from the usage per day: reports, what programs cost lately, and how fresh that is."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import BigIntegerField, F, Min, Model, Q, QuerySet, Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from executions.errors import usage_period_invalid
from executions.models import Evaluation, Execution, UsageDay
from executions.runtime.latency import Latency, latency_of, merged
from executions.types import GroupBy, UsageKind
from mlops.models import User
from mlops.querysets import role_of
from mlops.types import Role

MONTH_DAYS = 30
MAX_DAYS = 400
MAX_PAGE = 400
DAYS_AT_ONCE = 40
"""Whose histograms are in memory together."""

KEYS: Mapping[GroupBy, tuple[str, ...]] = {
    GroupBy.DAY: ("day",),
    GroupBy.PROGRAM: ("program__name",),
    GroupBy.VERSION: ("program_id", "program__name", "program__version"),
    GroupBy.PROMPT_VERSION: (
        "prompt_set__versions",
        "prompt_set__versions__version",
        "prompt_set__versions__module__key",
        "program__name",
        "program__version",
    ),
    GroupBy.USER: ("user_id", "user__username"),
    GroupBy.LANGUAGE_MODEL: ("language_model",),
}
"""The columns that a group has in common; the first one tells it apart."""

PLACES: Mapping[GroupBy, tuple[str, ...]] = {
    GroupBy.DAY: ("day",),
    GroupBy.PROGRAM: ("program__name",),
    GroupBy.VERSION: ("program__name", "program__version"),
    GroupBy.PROMPT_VERSION: ("program__name", "program__version", "prompt_set__versions"),
    GroupBy.USER: ("user_id",),
    GroupBy.LANGUAGE_MODEL: ("language_model",),
}
"""Columns that tell a group's place among all others and never change, whatever is counted meanwhile."""

PARTITIONS = (GroupBy.DAY, GroupBy.PROGRAM, GroupBy.VERSION)
"""By these everything is in one group; it is in several prompt versions and language models."""

SUMMED = (
    "unpriced", "calls", "input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens",
    "cost", "credits",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """Days in UTC, `until` excluded; without a filter everything that the actor may know of.

    `program` is an id, a name, or a name with a version (`triage@3`). Percentiles of many groups are the larger part of
    the work; who asks for the cost alone leaves them out.
    """

    group_by: GroupBy
    since: date
    until: date
    program: str = ""
    user: UUID | None = None
    language_model: str = ""
    kind: UsageKind | None = None
    with_latency: bool = True


@dataclass(frozen=True, slots=True)
class Figures:
    """Sums over a group. Cost is in pico-dollars of known prices; `unpriced` counts what is of unknown cost."""

    executions: int = 0
    failed: int = 0
    cancelled: int = 0
    evaluations: int = 0
    optimizations: int = 0
    unpriced: int = 0
    calls: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost: int = 0
    execution_cost: int = 0
    evaluation_cost: int = 0
    optimization_cost: int = 0
    credits: int = 0
    latency: Latency | None = None

    @property
    def error_rate(self) -> float | None:
        """The share of executions that failed."""
        return self.failed / self.executions if self.executions else None


@dataclass(frozen=True, slots=True)
class Group:
    """`of` has the columns of `KEYS` by name."""

    of: dict[str, Any]
    figures: Figures


@dataclass(frozen=True, slots=True)
class UsageReport:
    """A page of groups, the figures of all of them together, and until when everything is counted."""

    query: UsageQuery
    groups: list[Group]
    has_more: bool
    total: Figures
    counted_until: datetime = field(default_factory=timezone.now)


def usage_report(*, actor: User, query: UsageQuery, offset: int = 0, size: int = MAX_PAGE) -> UsageReport:
    """What ended in a period, by what `query` groups it: days in order, other groups by cost, the highest first.

    Admins see everything, engineers all programs in their reach, an ml_user only what is theirs; a token only its
    programs. A prompt set counts for each of its prompt versions. Raises `Invalid` (`usage_period_invalid`).
    """
    _check_period(query)
    keys = KEYS[query.group_by]
    order = keys if query.group_by is GroupBy.DAY else ("-sum_cost", *keys)
    rows = _rows(actor, query, is_total=False)
    groups = list(_grouped(rows, query).order_by(*order)[offset : offset + size + 1])
    page, key = groups[:size], keys[0]
    histograms = _histograms_of(page, actor, query)
    is_everything = query.group_by in PARTITIONS and offset == 0 and len(page) == len(groups)
    is_known = is_everything or not query.with_latency
    return UsageReport(
        query,
        [Group(_keys(query, row), _figures(row, histograms.get(row[key], {}))) for row in page],
        has_more=len(groups) > size,
        total=_total(actor, query, histograms if is_known else None),
        counted_until=counted_until(),
    )


def usage_groups(*, actor: User, query: UsageQuery, after: Group | None = None, size: int = MAX_PAGE) -> list[Group]:
    """The next groups behind `after`, by their names and not by what they cost: each group is in one place, however
    much is counted between two calls. Sees what `usage_report` sees, and raises as it does."""
    _check_period(query)
    rows, places = _rows(actor, query, is_total=False), PLACES[query.group_by]
    if after is not None:
        rows = rows.filter(_behind(after, places))  # before the grouping, so that both look at the same joined rows
    order = [F(place).asc(nulls_last=True) for place in places]
    page = list(_grouped(rows, query).order_by(*order)[:size])
    histograms, key = _histograms_of(page, actor, query), KEYS[query.group_by][0]
    return [Group(_keys(query, row), _figures(row, histograms.get(row[key], {}))) for row in page]


def _behind(group: Group, places: Sequence[str]) -> Q:
    """What comes after a group; nulls are last."""
    behind, same = Q(pk__in=[]), Q()
    for place in places:
        value = group.of[place]
        if value is not None:
            behind |= same & (Q(**{f"{place}__gt": value}) | Q(**{f"{place}__isnull": True}))
        same &= Q(**{f"{place}__isnull": True}) if value is None else Q(**{place: value})
    return behind


def tomorrow() -> date:
    """In UTC: the end, excluded, of what is told until now."""
    return datetime.now(UTC).date() + timedelta(days=1)


def month_before(until: date) -> date:
    """The first of the 30 days that end before `until`."""
    return date.fromordinal(max(until.toordinal() - MONTH_DAYS, 1))


def monthly_costs(programs: Collection[UUID]) -> dict[UUID, int]:
    """Pico-dollars that program versions cost in the last 30 days, evaluations and optimizations included."""
    since = month_before(tomorrow())
    sums = UsageDay.objects.of_everybody().of_all_models().filter(program__in=programs, day__gte=since)
    found = dict(sums.values_list("program_id").annotate(total=Sum("cost")).order_by())
    return {program: int(found.get(program, 0)) for program in programs}


_counted: list[type[Model]] = [Execution, Evaluation]
"""Whose rows are in the usage once they have ended and were counted."""


def add_counted(model: type[Model]) -> None:
    """Rows of a higher app are counted, too."""
    if model not in _counted:
        _counted.append(model)


def counted_until() -> datetime:
    """Everything that ended before this moment is in the usage."""
    waiting = (model._default_manager.filter(finished_at__isnull=False, is_counted=False) for model in _counted)
    oldest = [rows.aggregate(oldest=Min("finished_at"))["oldest"] for rows in waiting]
    return min((moment for moment in oldest if moment is not None), default=timezone.now())


def _check_period(query: UsageQuery) -> None:
    if query.until <= query.since:
        raise usage_period_invalid("until", _("It has to be after `since`: the day itself is excluded."))
    if (query.until - query.since).days > MAX_DAYS:
        raise usage_period_invalid("since", _("A report covers %(days)d days at most.") % {"days": MAX_DAYS})


def _rows(actor: User, query: UsageQuery, *, is_total: bool) -> QuerySet[Any]:
    """The sums of one grain: of each user or everybody, of each language model or all of them."""
    rows = UsageDay.objects.visible_to(actor).filter(day__gte=query.since, day__lt=query.until)
    user = actor.pk if role_of(actor) is Role.ML_USER and query.user is None else query.user
    if user is not None:
        rows = rows.filter(user=user)
    elif query.group_by is GroupBy.USER and not is_total:
        rows = rows.of_each_user()
    else:
        rows = rows.of_everybody()
    if query.language_model:
        rows = rows.filter(language_model=query.language_model)
    elif query.group_by is GroupBy.LANGUAGE_MODEL and not is_total:
        rows = rows.of_each_model()
    else:
        rows = rows.of_all_models()
    if query.kind is not None:
        rows = rows.filter(kind=query.kind)
    filtered: QuerySet[Any] = rows.filter(_of_program(query.program)) if query.program else rows
    return filtered


def _of_program(given: str) -> Q:
    try:
        return Q(program=UUID(given))
    except ValueError:
        name, _at, version = given.partition("@")
    if version.isascii() and version.isdigit() and len(version) < 10:
        return Q(program__name=name, program__version=int(version))
    return Q(program__name=given)


def _sums() -> dict[str, Sum]:
    ended = {UsageKind.EXECUTION: "executions", UsageKind.EVALUATION: "evaluations"}
    ended[UsageKind.OPTIMIZATION] = "optimizations"
    sums = {name: _sum(name) for name in SUMMED}
    for kind, name in ended.items():
        sums[name] = _sum("count", Q(kind=kind))
        sums[f"{kind}_cost"] = _sum("cost", Q(kind=kind))
    return sums | {name: _sum(name, Q(kind=UsageKind.EXECUTION)) for name in ("failed", "cancelled")}


def _sum(column: str, condition: Q | None = None) -> Sum:
    return Sum(column, filter=condition, default=0, output_field=BigIntegerField())


def _grouped(rows: QuerySet[Any], query: UsageQuery) -> QuerySet[Any]:
    sums = {f"sum_{name}": sum_ for name, sum_ in _sums().items()}  # a sum must not be called as its column
    grouped: QuerySet[Any] = rows.values(*KEYS[query.group_by]).annotate(**sums)
    return grouped


def _histograms_of(
    page: Sequence[Mapping[str, Any]], actor: User, query: UsageQuery
) -> Mapping[Any, Mapping[int, int]]:
    if not query.with_latency:
        return {}
    key = KEYS[query.group_by][0]
    wanted = [row[key] for row in page if row[key] is not None]
    return _histograms(_rows(actor, query, is_total=False).filter(**{f"{key}__in": wanted}), key, query)


def _histograms(rows: QuerySet[Any], key: str, query: UsageQuery) -> Mapping[Any, Mapping[int, int]]:
    """The merged histogram of each group, read some days at a time: a cursor of the server's takes twice as long."""
    found: dict[Any, Counter[int]] = defaultdict(Counter)
    end = query.until.toordinal()
    for since in range(query.since.toordinal(), end, DAYS_AT_ONCE):
        until = min(since + DAYS_AT_ONCE, end)
        some = rows.filter(day__gte=date.fromordinal(since), day__lt=date.fromordinal(until))
        texts: dict[Any, list[str]] = defaultdict(list)
        for value, text in some.exclude(histogram="").values_list(key, "histogram"):
            texts[value].append(text)
        for value, its in texts.items():
            found[value].update(merged(its))
    return found


def _keys(query: UsageQuery, row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in KEYS[query.group_by]}


def _total(actor: User, query: UsageQuery, histograms: Mapping[Any, Mapping[int, int]] | None) -> Figures:
    """`histograms`, where they are known and those of all groups, need not be read again."""
    sums = {f"sum_{name}": sum_ for name, sum_ in _sums().items()}
    rows = _rows(actor, query, is_total=True)
    if histograms is None:
        histograms = _histograms(rows, "kind", query)
    whole: Counter[int] = Counter()
    for histogram in histograms.values():
        whole.update(histogram)
    return _figures(rows.aggregate(**sums), whole)


def _figures(row: Mapping[str, Any], histogram: Mapping[int, int]) -> Figures:
    sums = {name.removeprefix("sum_"): int(row[name]) for name in row if name.startswith("sum_")}
    return Figures(**sums, latency=latency_of(histogram))
