from __future__ import annotations

import pytest
from django.contrib.auth.models import Group


@pytest.fixture
def group(db: None) -> Group:
    return Group.objects.create(name="support")
