"""Real processes at one budget: together they spend all of it and no more, whoever is killed."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.installation import Installation, eventually, postgresql_database
from tests.mlops.budgets.spending import AT_ONCE, EXPECTED

LIMIT = 1_000_000
MAKE = f"""
from mlops.services.budgets import create_budget
from mlops.services.history import operator
create_budget(actor=operator(), scope="installation", period="month", limit={LIMIT})
create_budget(actor=operator(), scope="program", program="triage", period="day", limit={10 * LIMIT})
"""
TELL = """
import json
from mlops.models import BudgetPeriod, BudgetSlice
period = BudgetPeriod.objects.get(budget__scope="installation")
slices = BudgetSlice.objects.filter(period=period).values("holder", "size", "used", "reserved", "is_swept")
other = BudgetPeriod.objects.get(budget__scope="program")
columns = ("spent", "allocated", "in_doubt")
print(json.dumps({
    "period": {name: getattr(period, name) for name in columns},
    "other": {name: getattr(other, name) for name in columns},
    "slices": list(slices), "is_blocked": period.blocked_at is not None,
}))
"""
SWEEP = """
from datetime import timedelta
from django.utils import timezone
from mlops.models import BudgetSlice
from mlops.services.budgets import sweep_slices
BudgetSlice.objects.filter(holder="killed").update(expires_at=timezone.now() - timedelta(seconds=1))
print(sweep_slices())
"""


@contextmanager
def installation(folder: Path, kind: str) -> Iterator[Installation]:
    if kind == "sqlite":
        here = Installation(folder)
        yield from _prepared(here)
        return
    with postgresql_database() as database:
        yield from _prepared(Installation(folder, database))


def _prepared(here: Installation) -> Iterator[Installation]:
    here.migrate()
    here.python(MAKE)
    try:
        yield here
    finally:
        here.stop()


def start(here: Installation, name: str, persistent_s: float = 2.5) -> Any:
    return here.start(name, "tests.mlops.budgets.spending", str(here.folder / f"{name}.spent"), str(persistent_s))


def spent(here: Installation) -> int:
    """What all processes really spent."""
    return sum(int(line) for log in here.folder.glob("*.spent") for line in log.read_text().split())


def told(here: Installation) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(here.python(TELL).splitlines()[-1])
    return answer


@pytest.mark.postgresql
@pytest.mark.timeout(240)
@pytest.mark.parametrize(("kind", "processes"), [("postgresql", 4), ("sqlite", 2)])
def test_together_they_spend_all_of_it_and_no_more(tmp_path: Path, kind: str, processes: int) -> None:
    with installation(tmp_path, kind) as here:
        started = [start(here, f"spender-{number}") for number in range(processes)]
        assert [process.wait(120) for process in started] == [0] * processes, here.logs()
        total, now = spent(here), told(here)
    assert LIMIT - EXPECTED < total <= LIMIT
    assert now["period"] == {"spent": total, "allocated": total, "in_doubt": 0}
    assert now["other"] == {"spent": total, "allocated": total, "in_doubt": 0}
    assert now["slices"] == []
    assert now["is_blocked"]


@pytest.mark.postgresql
@pytest.mark.timeout(240)
def test_a_killed_process_costs_no_more_than_it_had_reserved_and_hides_no_more_than_it_held(tmp_path: Path) -> None:
    with installation(tmp_path, "postgresql") as here:
        killed = start(here, "killed")
        log = tmp_path / "killed.spent"
        eventually(lambda: log.exists() and len(log.read_text().split()) > 200)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        started = [start(here, f"spender-{number}", persistent_s=20) for number in range(3)]
        (lost,) = [one for one in told(here)["slices"] if one["holder"] == "killed"]
        assert here.python(SWEEP).split()[-1] == "2"
        assert [process.wait(120) for process in started] == [0] * 3, here.logs()
        total, now = spent(here), told(here)
    untold = lost["size"] - lost["used"] - lost["reserved"]
    assert lost["reserved"] <= AT_ONCE * EXPECTED
    assert now["period"]["in_doubt"] == lost["reserved"]
    assert LIMIT - EXPECTED < now["period"]["spent"] + now["period"]["in_doubt"] == now["period"]["allocated"] <= LIMIT
    assert LIMIT - lost["reserved"] - EXPECTED < total <= LIMIT + untold
    assert [one["holder"] for one in now["slices"]] == ["killed"]
