from __future__ import annotations

import pytest

from mlops.models import User
from mlops.types import Role


@pytest.fixture
def bob(db: None) -> User:
    """An ML engineer."""
    user: User = User.objects.create_user("bob", role=Role.ML_ENGINEER.value)
    return user


@pytest.fixture
def charlie(db: None) -> User:
    """An ML user."""
    user: User = User.objects.create_user("charlie")
    return user
