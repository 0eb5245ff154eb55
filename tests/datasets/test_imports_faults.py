"""Imports of a whole installation on PostgreSQL and Redis, whose worker is killed in the middle."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import httpx
import pytest

from tests.installation import eventually, production

pytestmark = [pytest.mark.postgresql, pytest.mark.redis, pytest.mark.timeout(200)]

ROWS = 30_000


def upload(api: httpx.Client, name: str, rows: int = ROWS) -> str:
    content = b"n,text\n" + b"".join(b"%d,row %d\n" % (number, number) for number in range(rows))
    files = {"file": ("rows.csv", content)}
    answer = api.post("/api/v1/datasets/import/", data={"name": name, "type": "training"}, files=files)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def test_an_import_survives_its_worker_and_a_body_that_is_too_large_is_cut_off(tmp_path: Path) -> None:
    with production(tmp_path, SIGNET_LEASE_SECONDS="2", SIGNET_MAX_UPLOAD_BYTES="3000000") as here:
        here.start_web()
        here.start("beat", "celery", "-A", "config", "beat")
        first = here.start_worker("first")
        with here.client("erin", role="ml_engineer") as api:
            job = upload(api, "killed")

            def stored() -> int:
                return int(here.rows("SELECT count(*) FROM datasets_example")[0][0])

            eventually(lambda: stored() >= 3_000, within_s=60)
            first.send_signal(signal.SIGKILL)
            first.wait()
            assert api.get(f"/api/v1/imports/{job}/").json()["state"] == "running"
            assert api.get("/api/v1/examples/").json()["results"] == []
            here.start_worker("second")
            seen = []
            with api.stream("GET", f"/api/v1/imports/{job}/events/", timeout=120) as events:
                for line in events.iter_lines():
                    if line.startswith("data:"):
                        seen.append(json.loads(line.removeprefix("data:"))["state"])
            assert seen[-1] == "completed"
            done = api.get(f"/api/v1/imports/{job}/").json()
            assert (done["attempt"], done["report"]["rows"], stored()) == (2, ROWS, ROWS)
            numbers = "SELECT count(DISTINCT position), min(position), max(position) FROM datasets_example"
            assert here.rows(numbers) == [(ROWS, 0, ROWS - 1)]
            lines = api.get(f"/api/v1/datasets/{done['dataset']}/export/?as=csv", timeout=60).text.splitlines()
            assert (len(lines), lines[0], lines[-1]) == (ROWS + 1, "n,text", f"{ROWS - 1},row {ROWS - 1}")

            too_large = {"file": ("rows.csv", b"x" * 5_000_000)}
            answer = api.post("/api/v1/datasets/import/", data={"name": "big", "type": "training"}, files=too_large)
            assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
            assert api.get("/api/v1/datasets/?name=big").json()["results"] == []
