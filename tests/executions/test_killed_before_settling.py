"""A process is killed when its model has answered and before the end is stored: another one ends and settles it, once.

The end cannot be stored while the test holds the lock that it waits for. Everything is real: processes, both databases,
the provider on loopback.
"""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from tests.executions.test_faults import ONCE, charges, end, seed
from tests.installation import SERVER, Installation, eventually, production
from tests.provider import Provider

pytestmark = [pytest.mark.postgresql, pytest.mark.redis, pytest.mark.timeout(240)]

EXECUTE = "/api/v1/programs/answering/execute/"
LEASE_S = "2"
ENDING = """
    pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%json_to_recordset%'
    AND datname = current_database()
"""


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


def ask(client: Any) -> dict[str, Any]:
    response = client.post(EXECUTE, json={"input": {"question": "Why?"}, "options": {"mode": "async"}})
    assert response.status_code == 202, response.text
    answer: dict[str, Any] = response.json()
    return answer


def finished(client: Any, execution: dict[str, Any]) -> dict[str, Any]:
    address = f"/api/v1/executions/{execution['id']}/"
    done: dict[str, Any] = eventually(
        lambda: (found := client.get(address).json())["state"] == "completed" and found, 60
    )
    return done


def test_on_postgresql(provider: Provider, tmp_path: Path) -> None:
    with production(tmp_path, SIGNET_LEASE_SECONDS=LEASE_S) as here:
        seed(here, provider)
        here.start_web()
        here.start("beat", "celery", "-A", "config", "beat", "--schedule", str(tmp_path / "beat"))
        worker = here.start_worker("killed")
        with here.client("survivor", credits=10) as client, _row_of(here) as row:
            provider.latency_s = 3
            execution = ask(client)
            eventually(lambda: provider.in_flight == 1, 60)
            row.execute("SELECT 1 FROM executions_execution WHERE id = %s FOR UPDATE", [execution["id"]])
            eventually(lambda: _waits(here), 30)
            end(worker)
            here.rows(f"SELECT pg_terminate_backend(pid) FROM {ENDING}")  # it had the statement already
            row.connection.rollback()

            here.start_worker("second")
            done = finished(client, execution)

        assert (done["attempt"], len(provider.requests)) == (2, 2)
        assert charges(here, execution) == ONCE
        used = "SELECT sum(credits_used) FROM executions_execution"
        moved = "SELECT -sum(amount) FROM mlops_creditentry WHERE kind <> 'grant'"
        assert here.rows(used) == here.rows(moved)
        assert "agree with the ledger" in here.manage("check_credits")


@contextlib.contextmanager
def _row_of(here: Installation) -> Iterator[Any]:
    with contextlib.closing(psycopg2.connect(f"{SERVER} dbname={here.database}")) as connection:
        yield connection.cursor()


def _waits(here: Installation) -> bool:
    """Whether somebody waits for a lock with the end of an execution in hand."""
    return bool(here.rows(f"SELECT count(*) FROM {ENDING}")[0][0])


def test_on_sqlite(provider: Provider, tmp_path: Path) -> None:
    here = Installation(tmp_path, environment={"SIGNET_LEASE_SECONDS": LEASE_S})
    here.migrate()
    seed(here, provider)
    try:
        web = serve(here)
        with here.client("survivor", credits=10) as client:
            provider.latency_s = 3
            execution = ask(client)
            eventually(lambda: provider.in_flight == 1, 60)
            with _all_of(here) as database:
                database.execute("BEGIN IMMEDIATE")
                eventually(lambda: len(provider.requests) == 1 and provider.in_flight == 0, 30)
                end(web)
                state = "SELECT state FROM executions_execution"
                assert database.execute(state).fetchall() == [("running",)]
                database.rollback()
            provider.latency_s = 0
            serve(here)
            done = finished(client, execution)

        assert (done["attempt"], len(provider.requests)) == (2, 2)
        with _all_of(here) as database:
            lines = "SELECT kind, amount < 0, used > 0 FROM mlops_creditentry WHERE kind <> 'grant' ORDER BY id"
            assert database.execute(lines).fetchall() == ONCE
        assert "agree with the ledger" in here.manage("check_credits")
    finally:
        here.stop()


def serve(here: Installation) -> subprocess.Popen[bytes]:
    """Server, worker and beat in one process; returns when it is ready."""
    process = here.start("serve", "manage", "serve", "--port", str(here.web_port))
    here.await_ready(process)
    return process


@contextlib.contextmanager
def _all_of(here: Installation) -> Iterator[sqlite3.Connection]:
    """The database of the embedded installation; while it writes nobody else does."""
    opened = sqlite3.connect(here.folder / "signet.sqlite3", timeout=20, isolation_level=None)
    with contextlib.closing(opened) as database:
        yield database
