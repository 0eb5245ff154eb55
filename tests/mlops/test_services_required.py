"""The suite's own rule: where services are promised, a skip for want of one is a failure."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TEST = """
import pytest

def test_without_a_database():
    pytest.skip("needs PostgreSQL: none answers")

def test_for_another_reason():
    pytest.skip("not on this system")
"""
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("promised", "summary"), [("0", "2 skipped"), ("1", "1 failed, 1 skipped")])
def test_skips_for_want_of_a_service(tmp_path: Path, promised: str, summary: str) -> None:
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_runtest_makereport  # noqa: F401\n")
    (tmp_path / "test_skips.py").write_text(TEST)

    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "SIGNET_REQUIRE_SERVICES": promised},
        capture_output=True,
        text=True,
        check=False,
    )

    assert summary in run.stdout, run.stdout + run.stderr
