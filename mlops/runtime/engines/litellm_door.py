"""The way to LiteLLM, which takes more than a second and 130 MB to import: not before something is asked of it."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mlops.egress import ForbiddenAddress
from mlops.runtime.engines.failures import AddressRefused

_loaded: Any = None


async def litellm_loaded() -> Any:
    """LiteLLM, imported in a thread when it is first asked for, its clients under our rules."""
    global _loaded  # noqa: PLW0603  # not sys.modules: a module stands there before it is whole
    if _loaded is None:
        _loaded = await asyncio.to_thread(importlib.import_module, "mlops.runtime.engines.litellm_clients")
    return _loaded.litellm


@contextmanager
def refusals_told() -> Iterator[None]:
    """Say that an address was refused; LiteLLM takes it for a fault of the provider."""
    try:
        yield
    except Exception as error:
        if any(isinstance(link, ForbiddenAddress) for link in _behind(error)):
            raise AddressRefused from error
        raise


def _behind(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


async def close_litellm_clients() -> None:
    """At the end of an event loop: close the clients that LiteLLM keeps for it, if there can be any."""
    if _loaded is not None:
        await _loaded.close_clients()
