"""From three files to a better program in production: the whole way over REST, on public data."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.banking15 import DATA, improve
from tests.installation import Installation


@pytest.mark.skipif(not DATA.is_dir(), reason=f"needs the public data in {DATA.name}")
def test_a_program_gets_better_on_unseen_messages(tmp_path: Path) -> None:
    here = Installation(tmp_path)
    here.migrate()
    client = here.client("erin", role="ml_engineer")
    try:
        here.await_ready(here.start("web", "manage", "serve", "--port", str(here.web_port)))
        shown = improve(client)
    finally:
        here.stop()
    assert shown.before == pytest.approx(0.72, abs=0.03)
    assert shown.after == pytest.approx(0.81, abs=0.05)
    assert shown.majority_baseline == pytest.approx(1 / 15)
    assert 0 < shown.low < shown.high
    assert shown.p_value < 0.05
    assert shown.deployed == "banking15@2"
