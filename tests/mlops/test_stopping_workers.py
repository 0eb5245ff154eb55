"""Real workers that are asked to stop hand back within seconds what would take them much longer."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.installation import Installation, eventually, production

pytestmark = pytest.mark.timeout(240)

ROWS = 100_000
WITHIN_S = 10

START_IMPORT = """
from django.core.files.base import ContentFile
from datasets.services import import_dataset
from mlops.models import User
lines = ["message,intent"] + [f"Where is parcel {{n}}? {{'please ' * 20}},delivery" for n in range({rows})]
file = ContentFile("\\n".join(lines).encode(), "big.csv")
erin = User.objects.get(username="erin")
import_dataset(actor=erin, name="big", type="training", file=file)
from celery import current_app
current_app.send_task("datasets.work_imports", queue="{queue}")
"""

STATE = "SELECT state, attempt, idle_attempts, lease_token FROM datasets_import"


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    with production(tmp_path) as here:
        here.manage("create_token", "erin", "--role", "ml_engineer")
        yield here


@pytest.mark.postgresql
@pytest.mark.redis
@pytest.mark.parametrize(("pool", "queue"), [("prefork", "ml_training"), ("threads", "ml_inference")])
def test_a_worker_that_is_asked_to_stop_hands_back_its_job(installation: Installation, pool: str, queue: str) -> None:
    worker = installation.start(
        "worker", "celery", "-A", "config", "worker", "-Q", queue, "--pool", pool, "-c", "2", "-n", "first@%h"
    )
    installation.python(START_IMPORT.format(rows=ROWS, queue=queue))
    eventually(lambda: installation.rows(STATE)[0][0] == "running", 60)
    eventually(lambda: installation.rows("SELECT count(*) FROM datasets_example")[0][0] > 0, 60)

    asked = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(WITHIN_S + 20) == 0, installation.logs()
    took = time.monotonic() - asked

    assert installation.rows(STATE) == [("pending", 1, 0, None)], installation.logs()
    assert took < WITHIN_S, installation.logs()


LOOK = """
import json
from datasets.models import Import
row = Import.objects.get()
print(json.dumps([row.state, row.attempt, row.idle_attempts, str(row.lease_token or "")]))
"""


def test_the_embedded_server_hands_back_its_job(tmp_path: Path) -> None:
    here = Installation(tmp_path)
    here.migrate()
    here.manage("load_sample")
    here.manage("create_token", "erin", "--role", "ml_engineer")
    here.python(START_IMPORT.format(rows=ROWS, queue="ml_inference"))  # its doorbell rings in the other process only
    try:
        server = here.start("web", "manage", "serve", "--port", str(here.web_port))
        here.await_ready(server)
        eventually(lambda: json.loads(here.python(LOOK))[0] == "running", 60)

        asked = time.monotonic()
        server.send_signal(signal.SIGTERM)
        assert server.wait(WITHIN_S + 20) == 0, here.logs()
        took = time.monotonic() - asked

        assert json.loads(here.python(LOOK)) == ["pending", 1, 0, ""], here.logs()
        assert took < WITHIN_S, here.logs()
    finally:
        here.stop()
