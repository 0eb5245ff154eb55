"""Whatever is sent over REST, the answer is one that docs/openapi.yaml promises, and none is the server's fault.

schemathesis makes up what the document allows and what it does not, and asks a running server; `tests/fuzzing.py` puts
in the names of rows that exist. A longer search: `FUZZED_EXAMPLES=200 make test TESTS=tests/test_rest_schema.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.installation import ROOT, Installation

EXAMPLES = os.environ.get("FUZZED_EXAMPLES", "2")
"""For each operation, beside the some forty cases each that follow from the document alone."""

CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
]


@pytest.mark.timeout(900)
def test_rest_answers_whatever_is_asked_as_its_document_promises(tmp_path: Path) -> None:
    here = Installation(tmp_path)
    here.migrate()
    try:
        here.await_ready(here.start("web", "manage", "serve", "--port", str(here.web_port)))
        told = here.manage("create_token", "fuzzer", "--role", "admin")
        done = fuzz(here.address, told.split()[-1])
        log = (tmp_path / "web.log").read_text()
    finally:
        here.stop()
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    assert "Traceback" not in log


def fuzz(address: str, token: str) -> subprocess.CompletedProcess[str]:
    """What schemathesis finds. With one worker: threads of hypothesis now and then fail each other."""
    words = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", "tests/schemathesis.toml",
        "run", "docs/openapi.yaml", "--url", address, "--header", f"Authorization: Bearer {token}",
        "--checks", ",".join(CHECKS), "--max-examples", EXAMPLES, "--phases", "examples,coverage,fuzzing",
        "--workers", "1", "--seed", "1", "--no-shrink", "--continue-on-failure", "--warnings", "off",
    ]  # fmt: skip
    hooks = {"SCHEMATHESIS_HOOKS": "tests.fuzzing", "FUZZED_ADDRESS": address, "FUZZED_TOKEN": token}
    return subprocess.run(
        words, cwd=ROOT, env={**os.environ, **hooks}, capture_output=True, text=True, timeout=800, check=False
    )
