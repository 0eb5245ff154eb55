"""Custom modules: classes that settings register."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import dspy

from programs.types import ModuleSpec


def build_custom(
    module: ModuleSpec, signature: type[dspy.Signature], factory: Callable[..., dspy.Module]
) -> dspy.Module:
    """An instance of a registered class, with the row's arguments and, if its constructor names it, `signature`."""
    arguments = dict(module.config.get("arguments", {}))
    if "signature" in inspect.signature(factory).parameters:
        arguments["signature"] = signature
    built = factory(**arguments)
    return built if hasattr(built, "aforward") else InThread(built)


class InThread(dspy.Module):  # type: ignore[misc]  # DSPy is untyped
    """A module without an async form, run in a thread with the context of its caller."""

    def __init__(self, inner: dspy.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, **inputs: Any) -> Any:
        return self.inner(**inputs)

    async def aforward(self, **inputs: Any) -> Any:
        return await asyncio.to_thread(self.inner, **inputs)
