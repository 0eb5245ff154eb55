"""The examples of docs/tokens.md run as printed, against a server of their own."""

from __future__ import annotations

import re

import pytest

from tests.installation import ROOT
from tests.test_readme import Newcomer, newcomer  # noqa: F401  # the fixture

PAGE = (ROOT / "docs" / "tokens.md").read_text()


@pytest.mark.timeout(300)
def test_the_examples_run_as_printed(newcomer: Newcomer) -> None:  # noqa: F811
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)

    printed = newcomer.does(["sh", "-e"], "\n".join(blocks).replace("127.0.0.1:8000", f"127.0.0.1:{newcomer.port}"))

    assert '"state":"completed"' in printed
    assert '"code":"token_scope_missing"' in printed.replace(": ", ":")
    assert '"scope":"engineer"' in printed.replace(": ", ":")
    assert sum(line.endswith("200") for line in printed.splitlines()) == 2
    assert '"revoked_at":"2' in printed
