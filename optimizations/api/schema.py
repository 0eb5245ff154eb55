"""What the OpenAPI document says about the plain async views, which its generator cannot see."""

from __future__ import annotations

from typing import Any

from mlops.api.documented import Endpoint, in_place, watched
from optimizations.api.serializers import OptimizationSerializer

DOCUMENTED = watched("optimizations", "optimization", OptimizationSerializer, changes="change of state or progress")


def add_async_views(endpoints: list[Endpoint], **context: Any) -> list[Endpoint]:
    """Preprocessing hook of drf-spectacular."""
    return in_place(endpoints, DOCUMENTED)
