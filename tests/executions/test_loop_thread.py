"""The event loop of processes that have none of their own."""

from __future__ import annotations

from pathlib import Path

from tests.installation import Installation

SCRIPT = """
import atexit, threading
from executions.services.process import ensure_started

ensure_started()
atexit.register(lambda: print(sorted(thread.name for thread in threading.enumerate())))
"""


def test_a_script_that_ends_leaves_no_thread_in_the_loop(tmp_path: Path) -> None:
    here = Installation(tmp_path)
    here.migrate()
    assert here.python(SCRIPT) == "['MainThread']\n"
