"""The page of the documents is the one that the code and the table make."""

from __future__ import annotations

from tests.policies.page import page
from tests.sources import ROOT


def test_the_page_is_generated() -> None:
    assert (ROOT / "docs" / "policy-matrix.md").read_text() == page(), "make snapshot"
