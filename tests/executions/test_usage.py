"""Usage per day: exact whatever the batches, the crashes and the corrections, and proven by a rebuild."""

from __future__ import annotations

import math
import random
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.fill_executions import fill_executions
from datasets.models import Dataset
from executions.models import Evaluation, Execution, UsageDay
from executions.runtime.latency import RELATIVE_ERROR, latency_of, merged
from executions.selectors import UsageQuery, usage_report
from executions.selectors.usage import counted_until
from executions.services.usage import corrected_usage, count_usage, counting, rebuild_usage
from executions.types import GroupBy
from mlops.models import User
from mlops.services.history import operator
from programs.models import PromptSet
from tests.executions.rows import make_prompt_set, new_execution
from tests.factories import make_user

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
MODELS = ("openai/one", "openai/two")

Row = dict[str, Any]

rows = st.fixed_dictionaries(
    {
        "user": st.integers(0, 1),
        "prompt_set": st.integers(0, 1),
        "state": st.sampled_from(["completed", "failed", "cancelled"]),
        "second": st.integers(-3, 3),  # around midnight of the new year
        "cost": st.one_of(st.none(), st.integers(0, 10**12)),
        "duration_ms": st.one_of(st.none(), st.integers(0, 31 * 86_400_000)),
        "attempt": st.integers(0, 2),
        "models": st.dictionaries(st.sampled_from(MODELS), st.integers(0, 10**6), max_size=2),
    }
)


class Dimensions:
    def __init__(self) -> None:
        self.users = [make_user(), make_user()]
        self.sets = [make_prompt_set("one"), make_prompt_set("two")]

    def store(self, given: list[Row]) -> list[Execution]:
        return Execution.objects.bulk_create(self._execution(row) for row in given)

    def _execution(self, row: Row) -> Execution:
        by_model = {
            name: {"input": tokens, "output": 7, "cached": tokens // 2, "requests": 1, "cost": tokens * 3}
            for name, tokens in row["models"].items()
        }
        whole = {line: sum(lines[line] for lines in by_model.values()) for line in ("input", "output", "cached")}
        return new_execution(
            self.users[row["user"]],
            self.sets[row["prompt_set"]],
            state=row["state"],
            finished_at=NEW_YEAR + timedelta(seconds=row["second"]),
            cost=row["cost"],
            duration_ms=row["duration_ms"],
            attempt=row["attempt"],
            credits_used=11,
            token_usage={**whole, "by_model": by_model} if by_model else {},
        )


def ended(**fields: Any) -> Row:
    defaults = {"user": 0, "prompt_set": 0, "state": "completed", "second": 1, "cost": 1_000, "duration_ms": 100}
    return {**defaults, "attempt": 1, "models": {MODELS[0]: 10}, **fields}


def expected(executions: list[Execution]) -> dict[tuple[Any, ...], Counter[str]]:
    """The sums, counted by hand."""
    sums: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    for row in executions:
        assert row.finished_at is not None
        for model in ("", *row.token_usage.get("by_model", {})):
            used = row.token_usage["by_model"][model] if model else row.token_usage
            cost = used["cost"] if model else row.cost
            for user in (None, row.user_id):
                total = sums[row.finished_at.date(), row.prompt_set_id, user, model]
                total["count"] += 1
                total["failed"] += row.state == "failed"
                total["cancelled"] += row.state == "cancelled"
                total["unpriced"] += cost is None and (bool(model) or row.attempt > 0)
                total["input_tokens"] += used.get("input", 0)
                total["cached_tokens"] += used.get("cached", 0)
                total["output_tokens"] += used.get("output", 0)
                total["cost"] += cost or 0
                total["credits"] += 0 if model else 11
                total["duration_us"] += int((row.duration_ms or 0) * 1000)
                total["measured"] += row.state != "cancelled" and row.duration_ms is not None
    return sums


def kept() -> dict[tuple[Any, ...], Counter[str]]:
    names = ("count", "failed", "cancelled", "unpriced", "input_tokens", "cached_tokens", "output_tokens", "cost",
             "credits", "duration_us")  # fmt: skip
    found = {}
    for row in UsageDay.objects.all():
        counter = Counter({name: getattr(row, name) for name in names})
        counter["measured"] = sum(merged([row.histogram]).values())
        found[row.day, row.prompt_set_id, row.user_id, row.language_model] = counter
    return found


@pytest.mark.django_db
class TestCounting:
    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(first=st.lists(rows, max_size=12), second=st.lists(rows, max_size=12), batch=st.integers(1, 5))
    def test_sums_are_those_of_the_rows_whatever_the_batches(
        self, monkeypatch: pytest.MonkeyPatch, first: list[Row], second: list[Row], batch: int
    ) -> None:
        monkeypatch.setitem(counting.BATCHES, connection.vendor, batch)
        with transaction.atomic():
            dimensions = Dimensions()
            executions = dimensions.store(first)
            assert count_usage() == len(first)
            executions += dimensions.store(second)
            assert count_usage() == len(second)
            assert count_usage() == 0
            assert kept() == expected(executions)
            transaction.set_rollback(True)

    def test_what_has_not_ended_is_not_counted(self) -> None:
        dimensions = Dimensions()
        new_execution(dimensions.users[0], dimensions.sets[0]).save()
        assert count_usage() == 0
        assert not UsageDay.objects.exists()

    def test_a_crash_in_a_batch_counts_nothing_of_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        executions = Dimensions().store([ended(), ended()])
        with monkeypatch.context() as broken:
            broken.setattr("executions.services.usage.counting._rows", _dying_before_it_marks())
            with pytest.raises(ConnectionError), transaction.atomic():
                count_usage()
        assert not UsageDay.objects.exists()
        count_usage()
        assert kept() == expected(executions)

    def test_an_evaluation_counts_as_one_of_its_kind(self) -> None:
        dimensions = Dimensions()
        prompt_set = dimensions.sets[0]
        evaluation = _evaluation(dimensions.users[0], prompt_set, cost=5_000, unpriced=2)
        assert count_usage() == 1
        row = UsageDay.objects.get(user=None, language_model="")
        assert (row.kind, row.day, row.count, row.cost, row.unpriced) == ("evaluation", NEW_YEAR.date(), 1, 5_000, 1)
        assert (row.credits, row.histogram) == (0, "")
        assert Evaluation.objects.get(pk=evaluation.pk).is_counted

    def test_until_when_everything_is_counted(self) -> None:
        Dimensions().store([ended(second=1), ended(second=-2)])
        assert counted_until() == NEW_YEAR - timedelta(seconds=2)
        count_usage()
        assert counted_until() > NEW_YEAR


@pytest.mark.django_db
class TestCorrecting:
    def test_new_costs_replace_the_old_ones_in_every_sum(self) -> None:
        dimensions = Dimensions()
        executions = dimensions.store([ended(), ended(cost=None, models=dict.fromkeys(MODELS, 5)), ended(user=1)])
        count_usage()
        with corrected_usage(Execution, [row.pk for row in executions[:2]]):
            for row in executions[:2]:
                row.cost = 77
                for lines in row.token_usage["by_model"].values():
                    lines["cost"] = 3
                row.save(update_fields=["cost", "token_usage"])
        assert kept() == expected(executions)
        assert UsageDay.objects.get(user=None, language_model="").cost == 77 + 77 + 1_000

    def test_what_is_not_counted_yet_is_counted_once_with_its_new_cost(self) -> None:
        executions = Dimensions().store([ended()])
        with corrected_usage(Execution, [executions[0].pk]):
            executions[0].cost = 5
            executions[0].save(update_fields=["cost"])
        assert not UsageDay.objects.exists()
        count_usage()
        assert kept() == expected(executions)

    def test_a_correction_that_fails_changes_nothing(self) -> None:
        executions = Dimensions().store([ended()])
        count_usage()

        def correct() -> None:
            with corrected_usage(Execution, [executions[0].pk]):
                Execution.objects.filter(pk=executions[0].pk).update(cost=9)
                raise ValueError("no such price")

        with pytest.raises(ValueError, match="no such price"):
            correct()
        assert kept() == expected(executions)


@pytest.mark.django_db(transaction=True)
class TestRebuilding:
    def test_a_rebuild_proves_and_repairs(self) -> None:
        executions = Dimensions().store([ended(), ended(state="failed", second=-1), ended(duration_ms=9_000)])
        count_usage()
        assert rebuild_usage(check_only=True).different == 0
        row = UsageDay.objects.filter(user=None, language_model="").latest("day")
        UsageDay.objects.filter(pk=row.pk).update(cost=row.cost + 5, histogram="")
        UsageDay.objects.exclude(user=None).filter(language_model="").earliest("day").delete()

        found = rebuild_usage(check_only=True)
        assert found.different == 2
        assert {"cost": -5, "latencies": 2} in [difference.missing for difference in found.examples]
        assert rebuild_usage(check_only=True).different == 2, "comparing corrects nothing"
        assert rebuild_usage().different == 2
        assert rebuild_usage().different == 0
        assert kept() == expected(executions)

    def test_days_before_are_left_alone(self) -> None:
        executions = Dimensions().store([ended(second=-1), ended(second=1)])
        count_usage()
        before = UsageDay.objects.filter(day__lt=NEW_YEAR.date()).count()
        executions[0].delete()
        assert rebuild_usage(since=NEW_YEAR.date()).different == 0
        assert rebuild_usage(check_only=True).different == before > 0

    def test_the_command_tells_by_its_exit(self, capsys: pytest.CaptureFixture[str]) -> None:
        Dimensions().store([ended()])
        count_usage()
        call_command("rebuild_usage", "--check")
        assert "agrees with its 1 rows" in capsys.readouterr().out
        UsageDay.objects.filter(user=None, language_model="").update(failed=1)
        with pytest.raises(CommandError, match="1 sums differ"):
            call_command("rebuild_usage", "--check")
        with pytest.raises(CommandError, match="1 sums corrected"):
            call_command("rebuild_usage")
        assert "failed -1" in capsys.readouterr().err
        call_command("rebuild_usage")

    def test_a_filled_database_is_counted_right(self) -> None:
        fill_executions(2_500, days=3)
        assert count_usage(limit_s=60) == 2_500
        assert rebuild_usage(check_only=True).different == 0
        everybody = UsageDay.objects.of_everybody().of_all_models()
        assert sum(everybody.values_list("count", flat=True)) == 2_500
        costs = Execution.objects.values_list("cost", flat=True)
        assert sum(everybody.values_list("cost", flat=True)) == sum(cost or 0 for cost in costs)

    def test_several_workers_and_a_correction_at_once_count_everything_once(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(counting.BATCHES, connection.vendor, 20)
        executions = Dimensions().store(
            [ended(user=n % 2, prompt_set=n % 2, duration_ms=n, models={MODELS[n % 2]: n}) for n in range(600)]
        )
        keys = [row.pk for row in executions]
        failures: list[BaseException] = []

        def run(work: Any) -> None:
            try:
                work()
            except BaseException as error:
                failures.append(error)
            finally:
                connections.close_all()

        def correct() -> None:
            for first in range(0, 600, 50):
                chosen = keys[first : first + 50]
                with corrected_usage(Execution, chosen):
                    Execution.objects.filter(pk__in=chosen).update(cost=2_000)

        works = [lambda: count_usage(limit_s=30)] * 3 + [correct]
        threads = [threading.Thread(target=run, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        count_usage()
        assert failures == []
        assert kept() == expected(list(Execution.objects.all()))
        assert rebuild_usage(check_only=True).different == 0


class TestPercentiles:
    @given(st.lists(st.floats(0.02, 2_678_400_000), min_size=1, max_size=200))
    def test_they_are_off_by_at_most_the_stated_error(self, durations: list[float]) -> None:
        histogram = Counter(math.ceil(8 * math.log2(duration)) for duration in durations)
        found = latency_of(histogram)
        assert found is not None
        assert found.count == len(durations)
        for share, told in ((50, found.p50_ms), (90, found.p90_ms), (95, found.p95_ms), (99, found.p99_ms)):
            exact = sorted(durations)[math.ceil(share * len(durations) / 100) - 1]
            assert abs(told - exact) <= exact * (RELATIVE_ERROR + 1e-9)

    @given(st.lists(st.dictionaries(st.integers(-60, 300), st.integers(1, 10**9), max_size=20), max_size=6))
    def test_histograms_merge_by_addition(self, histograms: list[dict[int, int]]) -> None:
        texts = [",".join(f"{bucket:+04d}:{n:+011d}" for bucket, n in one.items()) for one in histograms]
        expected: Counter[int] = Counter()
        for one in histograms:
            expected.update(one)
        assert merged(texts) == expected

    def test_nothing_has_no_percentiles(self) -> None:
        assert latency_of({}) is None

    @pytest.mark.django_db
    def test_the_database_finds_the_same_buckets(self) -> None:
        generator = random.Random(1)
        durations = [round(generator.lognormvariate(5, 2), 3) for _ in range(300)]
        Dimensions().store([ended(duration_ms=duration) for duration in durations])
        count_usage()
        query = UsageQuery(GroupBy.DAY, NEW_YEAR.date(), NEW_YEAR.date() + timedelta(days=1))
        found = usage_report(actor=operator(), query=query).total.latency
        assert found is not None
        assert found.count == 300
        exact = sorted(durations)[math.ceil(0.95 * 300) - 1]
        assert abs(found.p95_ms - exact) <= exact * (RELATIVE_ERROR + 1e-9)


def _dying_before_it_marks() -> Any:
    """The rows of a source, the second time the connection is gone: the sums are written, the marks are not."""
    asked: Iterator[int] = iter(range(100))
    real = counting._rows

    def rows_of(source: Any) -> Any:
        if next(asked) == 1:
            raise ConnectionError("the database went away")
        return real(source)

    return rows_of


def _evaluation(user: User, prompt_set: PromptSet, **fields: Any) -> Evaluation:
    return Evaluation.objects.create(
        user=user,
        program=prompt_set.program,
        prompt_set=prompt_set,
        dataset=Dataset.objects.create(name="seen", type="validation"),
        state="completed",
        finished_at=NEW_YEAR,
        **fields,
    )
