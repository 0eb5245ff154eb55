"""The loopback provider of the tests of engines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.provider import Provider


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


@pytest.fixture
def backup() -> Iterator[Provider]:
    """A second provider, for fallbacks."""
    with Provider() as running:
        yield running
