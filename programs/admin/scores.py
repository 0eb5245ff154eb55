"""Scores of evaluations as they are shown on a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.utils.dateparse import parse_datetime
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timezone import localtime
from django.utils.translation import gettext as _

NUMBERS = ("mean", "low", "high", "n")


def scores_table(metrics: Mapping[str, Mapping[str, Any]]) -> SafeString | str:
    """`Program.metrics` or `PromptVersion.performance_metrics` as a table: a line per dataset and metric."""
    lines = list(_lines(metrics))
    if not lines:
        return "-"
    heads = [_("Dataset"), _("Metric"), _("Score"), _("95 % interval"), _("Examples"), _("When")]
    return format_html(
        '<table class="w-full text-left"><thead><tr>{}</tr></thead><tbody>{}</tbody></table>',
        format_html_join("", '<th class="pr-4">{}</th>', ((head,) for head in heads)),
        format_html_join("", "<tr>{}</tr>", ((_cells(line),) for line in lines)),
    )


def _lines(metrics: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[Any, ...]]:
    for dataset, scores in sorted(metrics.items()):
        for metric, score in sorted(scores.items()):
            mean, low, high, n = (score.get(name) for name in NUMBERS)
            yield dataset, metric, _rounded(mean), f"{_rounded(low)} - {_rounded(high)}", n, _when(score.get("at"))


def _cells(line: tuple[Any, ...]) -> SafeString:
    return format_html_join("", '<td class="pr-4">{}</td>', ((cell,) for cell in line))


def _rounded(value: Any) -> str:
    return "?" if value is None else f"{100 * value:.1f} %"


def _when(at: Any) -> str:
    moment = parse_datetime(at) if at else None
    return date_format(localtime(moment), "SHORT_DATETIME_FORMAT") if moment and moment.tzinfo else "?"
