"""Medians, spread, ratios against the targets: a table to read and a JSON file to keep."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.scenarios import FOLLOWED, Sample

RESULTS = Path(__file__).resolve().parent / "results"
USAGE_FIGURES = (
    "day_ms", "program_ms", "version_ms", "prompt_version_ms", "user_ms", "language_model_ms", "monthly_cost_ms",
    "percentiles_ms",
)  # fmt: skip
LINEAGE_FIGURES = {
    "lineage_ms": "where an execution comes from, in ms",
    "by_prompt_version_ms": "who used a prompt version, in ms",
    "by_demo_ms": "who used a demo, in ms",
    "by_example_ms": "who used an example, in ms",
    "by_dataset_ms": "who used a dataset version, in ms",
    "by_old_example_ms": "who used an example long ago, in ms",
}
_COLUMNS = (
    "per_second",
    "us_per_call",
    "seconds",
    "p50_ms",
    "p95_ms",
    "cpu_ms",
    "pss_mib",
    "submitted_per_second",
    "executions",
    "errors",
    "extra_mib",
    "list_ms",
    "admin_ms",
    "statistics_ms",
    *USAGE_FIGURES,
    *LINEAGE_FIGURES,
    "nested_ms",
    "slowest_ms",
    "queries_per_second",
    "counted_per_second",
    "lag_ms",
    "lag_p95_ms",
    "chunks",
    "cached_ms",
    "missed_ms",
    "amortised_ms",
    "over_raw",
    "whole",
    "over_ideal",
    "two_over_one",
    "before",
    "after",
    "majority",
    "low",
    "high",
    "p_value",
)


@dataclass(frozen=True)
class Target:
    """What this product promises: `figure` over that of the reference at least, or at most, `bound`."""

    scenario: str
    reference: str
    figure: str
    bound: float
    at_least: bool = True

    def met_by(self, ratio: float) -> bool:
        return ratio >= self.bound if self.at_least else ratio <= self.bound


@dataclass(frozen=True)
class Bound:
    """What this product promises of itself: `figure` in scenarios whose name begins with `scenario`; `words` say it."""

    scenario: str
    figure: str
    words: str
    bound: float
    at_least: bool = False

    def met_by(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound


TARGETS = (
    Target("runtime", "raw", "us_per_call", 1.3, at_least=False),
    Target("sync 0 ms / 16", "plain", "per_second", 2.0),
    Target("sync 50 ms / 64", "plain", "per_second", 2.0),
    Target("sync 1000 ms / 256", "plain", "per_second", 2.3),
    Target("sync 1000 ms / 512", "plain", "per_second", 4.0),
    Target("async 50 ms", "naive", "per_second", 8.0),
    Target("async 1000 ms", "naive", "per_second", 8.0),
    Target("async 50 ms", "naive", "pss_mib", 0.25, at_least=False),
    Target("budgets, 16 clients", "none", "per_second", 0.9),
    Target("imports", "small", "list_ms", 2.0, at_least=False),
    Target("imports", "small", "statistics_ms", 2.0, at_least=False),
    Target("graphql", "flat", "nested_ms", 2.0, at_least=False),
    Target("graphql", "rows", "nested_ms", 2.0, at_least=False),
    Target("graphql", "all", "nested_ms", 2.0, at_least=False),
    *(Target("usage", "small", figure, 1.5, at_least=False) for figure in USAGE_FIGURES),
)
BOUNDS = (
    Bound("memory", "growth", "RSS after 20,000 over 2,000", 1.05),
    Bound("graphql", "more_queries", "queries of 50 programs over those of 10", 0),
    *(Bound(f"subscriptions, {of}", "slowest_ms", "ms from a commit to the last of 1,000", 1_000) for of in FOLLOWED),
    *(Bound(f"subscriptions, {of}", "queries_per_second", "queries a second of 1,000 idle", 1.0) for of in FOLLOWED),
    Bound("imports", "extra_mib", "extra memory in MiB", 200),
    Bound("streaming", "lag_ms", "ms from the provider's chunk to the reader, median", 10),
    Bound("streaming", "errors", "streams without a completed result", 0),
    Bound("tokens", "cached_ms", "token lookup and policy check in ms", 0.3),
    Bound("tokens", "amortised_ms", "the same with its share of looking up", 0.3),
    *(Bound("lineage", figure, words, 50) for figure, words in LINEAGE_FIGURES.items()),
    Bound("compile", "over_raw", "seconds over those of DSPy alone", 1.15),
    Bound("evaluations", "over_ideal", "seconds over the ideal", 1.2),
    Bound("evaluations", "two_over_one", "speed of two workers over one", 1.8, at_least=True),
    Bound("banking15", "seconds", "seconds from upload to deploy", 60),
    Bound("banking15", "after", "share that is right after the compile", 0.76, at_least=True),
    Bound("banking15", "low", "lower end of the difference", 0.0, at_least=True),
)


@dataclass(frozen=True)
class Spread:
    """A figure over the rounds."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{_short(self.median)} ({_short(self.low)}..{_short(self.high)})"


Summary = dict[str, dict[str, dict[str, Spread]]]  # scenario -> variant -> figure


def summarise(samples: Iterable[Sample]) -> Summary:
    collected: dict[str, dict[str, dict[str, list[float]]]] = {}
    for sample in samples:
        figures = collected.setdefault(sample.scenario, {}).setdefault(sample.variant, {})
        for name, value in sample.figures.items():
            figures.setdefault(name, []).append(value)
    return {
        scenario: {
            variant: {
                name: Spread(statistics.median(values), min(values), max(values)) for name, values in figures.items()
            }
            for variant, figures in variants.items()
        }
        for scenario, variants in collected.items()
    }


def verdicts(summary: Summary) -> list[str]:
    """One line per target that this run can judge."""
    lines = []
    for target in TARGETS:
        variants = summary.get(target.scenario, {})
        if "ours" not in variants or target.reference not in variants:
            continue
        ratio = variants["ours"][target.figure].median / variants[target.reference][target.figure].median
        sign = ">=" if target.at_least else "<="
        verdict = "met" if target.met_by(ratio) else "MISSED"
        what = f"{target.scenario}, {target.figure} over {target.reference}"
        lines.append(f"{what}: {ratio:.2f} (target {sign} {target.bound:g}): {verdict}")
    for bound in BOUNDS:
        for scenario, variants in summary.items():
            if scenario.startswith(bound.scenario) and bound.figure in (ours := variants.get("ours", {})):
                value = ours[bound.figure].median
                sign, verdict = (">=" if bound.at_least else "<="), ("met" if bound.met_by(value) else "MISSED")
                lines.append(f"{scenario}, {bound.words}: {value:.3f} (target {sign} {bound.bound:g}): {verdict}")
    return lines


def table(summary: Summary) -> str:
    """Median and (lowest..highest) of every figure; empty columns are left out."""
    rows = [
        (scenario, variant, figures) for scenario, variants in summary.items() for variant, figures in variants.items()
    ]
    extra = sorted({name for *_, figures in rows for name in figures if name.startswith("rss") or name == "growth"})
    columns = [name for name in (*_COLUMNS, *extra) if any(name in figures for *_, figures in rows)]
    cells = [["scenario", "variant", *columns]]
    cells += [
        [scenario, variant, *(str(figures.get(name, "")) for name in columns)] for scenario, variant, figures in rows
    ]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)


def write(samples: Sequence[Sample], summary: Summary, machine: dict[str, object]) -> Path:
    """Keep everything: the samples, the summary and what it was measured on."""
    RESULTS.mkdir(exist_ok=True)
    now = datetime.now(UTC)
    path = RESULTS / f"{now:%Y-%m-%dT%H%M%SZ}.json"
    content = {
        "at": now.isoformat(),
        "machine": machine,
        "verdicts": verdicts(summary),
        "summary": {
            scenario: {
                variant: {name: asdict(spread) for name, spread in figures.items()}
                for variant, figures in variants.items()
            }
            for scenario, variants in summary.items()
        },
        "samples": [asdict(sample) for sample in samples],
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
