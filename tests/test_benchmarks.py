"""The benchmark harness counts right; how fast anything is, no test says."""

from __future__ import annotations

import asyncio
import os

import pytest

from benchmarks.load import generate, percentile, request_bytes
from benchmarks.measure import CpuClock, pss_mib, rss_mib
from benchmarks.report import summarise, table, verdicts
from benchmarks.scenarios import Sample
from tests.provider import Provider, reset, status


def test_percentile() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert (percentile(values, 0.5), percentile(values, 0.95), percentile([], 0.5)) == (50.0, 95.0, 0.0)


def test_load_counts_answers_and_errors() -> None:
    with Provider() as provider:
        provider.script(status(500), reset())
        url = f"{provider.base_url}/chat/completions"
        request = request_bytes(url, '{"messages": []}', bearer="secret")
        found = asyncio.run(generate(url, request, clients=4, warm_up_s=0, seconds=30, requests=40))
        assert len(provider.requests) == 40
        assert provider.requests[-1].headers["authorization"] == "Bearer secret"
    assert (found.completed, found.answered, found.errors) == (38, 38, 2)
    assert "500" in found.first_error or "lost" in found.first_error
    assert 0 < found.p50_ms <= found.p95_ms


def test_process_figures_are_those_of_the_tree() -> None:
    clock = CpuClock([os.getpid()])
    while clock.milliseconds() == 0:
        sum(range(100_000))
    assert clock.milliseconds() > 0
    assert 0 < pss_mib([os.getpid()]) <= rss_mib([os.getpid()]) * 1.5


def rounds(variant: str, *rates: float) -> list[Sample]:
    return [Sample("sync 0 ms / 16", variant, {"per_second": rate}) for rate in rates]


@pytest.mark.parametrize(("rate", "verdict"), [(1000.0, "met"), (999.0, "MISSED")])
def test_verdict_compares_medians(rate: float, verdict: str) -> None:
    summary = summarise(rounds("plain", 500.0, 100.0, 900.0) + rounds("ours", rate, 1.0, 5000.0))
    (line,) = verdicts(summary)
    assert line.endswith(f"(target >= 2): {verdict}")
    assert "500 (100..900)" in table(summary)


def test_growth_is_judged() -> None:
    summary = summarise([Sample("memory web", "ours", {"rss_2000_mib": 100.0, "rss_20000_mib": 106.0, "growth": 1.06})])
    assert verdicts(summary) == ["memory web, RSS after 20,000 over 2,000: 1.060 (target <= 1.05): MISSED"]


def test_a_compile_is_judged_on_each_database_by_its_ratios_round_by_round() -> None:
    seconds = {"SQLite": (4.4, 4.8, 4.2), "PostgreSQL": (5.0, 4.9, 4.4)}
    samples = [
        Sample(f"compile, {name}, 1 thread", variant, figures)
        for name, ours in seconds.items()
        for one in ours
        for variant, figures in (("raw", {"seconds": 4.0}), ("ours", {"seconds": one, "over_raw": one / 4.0}))
    ]
    summary = summarise(samples)
    assert verdicts(summary) == [
        "compile, SQLite, 1 thread, seconds over those of DSPy alone: 1.100 (target <= 1.15): met",
        "compile, PostgreSQL, 1 thread, seconds over those of DSPy alone: 1.225 (target <= 1.15): MISSED",
    ]
    assert "1.1 (1.05..1.2)" in table(summary)


def test_references_alone_give_no_verdict() -> None:
    assert verdicts(summarise(rounds("plain", 500.0))) == []
