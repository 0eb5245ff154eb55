"""People and rules that every test shares.

Alice and Bob are ML users, Charlie is an ML user to whom nothing of theirs belongs, Erin is an ML engineer.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest
from rest_framework.test import APIClient

from mlops.models import User
from mlops.selectors import forget_language_models
from mlops.services import rates
from mlops.services.tokens import forget_tokens
from mlops.types import Role
from tests.factories import make_token, make_user

SERVICES = ("needs PostgreSQL", "needs Redis", "needs Chromium")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Under SIGNET_REQUIRE_SERVICES=1 a test that skips for want of a service fails instead."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]  # pluggy types the generator's value as None
    if not report.skipped or os.environ.get("SIGNET_REQUIRE_SERVICES") != "1" or hasattr(report, "wasxfail"):
        return
    reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
    if any(service in reason for service in SERVICES):
        report.outcome = "failed"
        report.longrepr = f"SIGNET_REQUIRE_SERVICES=1 forbids this skip: {reason}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that start processes come first: they take long, mostly wait, and nobody is to wait for one at the end."""
    items.sort(key=lambda item: not _starts_processes(item))


def _starts_processes(item: pytest.Item) -> bool:
    names = vars(getattr(item, "module", None) or object).values()
    return any(getattr(value, "__module__", "") == "tests.installation" or value is subprocess for value in names)


@pytest.fixture(autouse=True)
def _fresh_caches() -> Iterator[None]:
    """Caches of the process outlive the rows of a test; the next test must not meet them."""
    forget_tokens()
    forget_language_models()
    rates._limiter.cache_clear()  # the counts of an installation without Redis
    yield
    forget_tokens()
    forget_language_models()


@pytest.fixture
def alice(db: None) -> User:
    return make_user(username="alice", credits=100)


@pytest.fixture
def bob(db: None) -> User:
    return make_user(username="bob", credits=100)


@pytest.fixture
def charlie(db: None) -> User:
    return make_user(username="charlie", credits=100)


@pytest.fixture
def erin(db: None) -> User:
    return make_user(Role.ML_ENGINEER.value, username="erin")


@pytest.fixture
def admin(db: None) -> User:
    return make_user(Role.ADMIN.value, username="admin", password="a-long-password")


@pytest.fixture
def api() -> APIClient:
    return APIClient()


def api_of(user: User) -> APIClient:
    """A REST client that sends a bearer token of `user`."""
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {make_token(user)[1]}")
    return client
