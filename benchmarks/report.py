"""Medians, spread, ratios against the targets: a table to read and a JSON file to keep."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.scenarios import Sample

RESULTS = Path(__file__).resolve().parent / "results"
_COLUMNS = (
    "per_second",
    "us_per_call",
    "p50_ms",
    "p95_ms",
    "cpu_ms",
    "pss_mib",
    "submitted_per_second",
    "executions",
    "errors",
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


TARGETS = (
    Target("runtime", "raw", "us_per_call", 1.3, at_least=False),
    Target("sync 0 ms / 16", "plain", "per_second", 2.0),
    Target("sync 50 ms / 64", "plain", "per_second", 2.0),
    Target("sync 1000 ms / 256", "plain", "per_second", 2.3),
    Target("sync 1000 ms / 512", "plain", "per_second", 4.0),
    Target("async 50 ms", "naive", "per_second", 8.0),
    Target("async 1000 ms", "naive", "per_second", 8.0),
    Target("async 50 ms", "naive", "pss_mib", 0.25, at_least=False),
)
GROWTH_BOUND = 1.05


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
    for scenario, variants in summary.items():
        if "growth" in (ours := variants.get("ours", {})):
            growth = ours["growth"].median
            verdict = "met" if growth <= GROWTH_BOUND else "MISSED"
            lines.append(f"{scenario}, RSS after 20,000 over 2,000: {growth:.3f} (target <= {GROWTH_BOUND}): {verdict}")
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
