"""Custom modules: classes that settings register."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import dspy

from mlops.errors import Invalid
from programs.types import ModuleSpec


def build_custom(
    module: ModuleSpec, signature: type[dspy.Signature], factory: Callable[..., dspy.Module]
) -> dspy.Module:
    """An instance of a registered class, with the row's arguments and, if its constructor names it, `signature`.

    Raises `Invalid` when the class does not take the arguments.
    """
    arguments = dict(module.config.get("arguments", {}))
    # DSPy's metaclass hides the constructor's signature behind its own.
    constructor = factory.__init__ if isinstance(factory, type) else factory  # type: ignore[misc]
    if "signature" in inspect.signature(constructor).parameters:
        arguments["signature"] = signature
    try:
        built = factory(**arguments)
    except Exception as error:
        message = (
            f"The module {module.config['module']!r} cannot be made with these arguments ({type(error).__name__})."
        )
        raise Invalid("bad_arguments", message, field=f"modules.{module.key}.config.arguments") from error
    return built if hasattr(built, "aforward") else InThread(built)


class InThread(dspy.Module):  # type: ignore[misc]  # DSPy is untyped
    """A module without an async form, run in a thread with the context of its caller.

    A deadline or a cancellation ends the waiting for it, not the thread.
    """

    def __init__(self, inner: dspy.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, **inputs: Any) -> Any:
        return self.inner(**inputs)

    async def aforward(self, **inputs: Any) -> Any:
        return await asyncio.to_thread(self.inner, **inputs)
