"""The language models of this process: built when first asked for, kept while in use, never shared over a fork."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import OrderedDict
from dataclasses import fields
from typing import Any

import dspy

from mlops.runtime.engines.bridge import forget_bridge
from mlops.runtime.engines.engine import AsyncMeteredEngine, MeteredEngine
from mlops.runtime.engines.failures import refused
from mlops.runtime.engines.links import Link
from mlops.runtime.engines.litellm_door import close_litellm_clients
from mlops.runtime.engines.patience import flattened
from mlops.runtime.engines.providers import is_matcher, matcher
from mlops.types import LanguageModelKind, LanguageModelSpec

KEPT = 64
"""Language models that a process keeps connections for."""

_OURS = frozenset({"model", "model_type", "cache", "callbacks", "num_retries", "provider", "engine", "async_engine"})
"""Arguments of `dspy.LM` that are no parameters of a model."""


class LanguageModels:
    """A bounded cache from specifications to `dspy.LM` objects, by content: the same row gives the same connections."""

    def __init__(self, size: int = KEPT) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._models: OrderedDict[bytes, dspy.LM] = OrderedDict()
        self._digests: OrderedDict[int, tuple[LanguageModelSpec, bytes]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._models)

    def get(self, spec: LanguageModelSpec) -> dspy.LM:
        """The model of `spec`. Raises `ModelRefused` for a specification that no call can be made with."""
        with self._lock:
            digest = self._digest(spec)
            model = self._models.get(digest)
            if model is None:
                model = self._models[digest] = build(spec)
            self._models.move_to_end(digest)
            evicted = [self._models.popitem(last=False)[1] for _ in range(len(self._models) - self._size)]
        for one in evicted:
            _retire(one)
        return model

    def clear(self) -> None:
        """Let go of all models; their connections are closed once no call is under way."""
        with self._lock:
            models, self._models = list(self._models.values()), OrderedDict()
        for model in models:
            _retire(model)

    async def hang_up(self) -> None:
        """Close the connections of the running loop."""
        for model in list(self._models.values()):
            await model.engine.async_engine.aclose()

    def _digest(self, spec: LanguageModelSpec) -> bytes:
        """Reading a whole specification costs more than a look-up, so the digests of the latest objects are kept."""
        known = self._digests.get(id(spec))
        if known is not None and known[0] is spec:
            return known[1]
        digest = hashlib.sha256(json.dumps(_content(spec), sort_keys=True, default=repr).encode()).digest()
        self._digests[id(spec)] = (spec, digest)
        while len(self._digests) > self._size:
            self._digests.popitem(last=False)
        return digest


def language_model(spec: LanguageModelSpec) -> dspy.LM:
    """The `dspy.LM` of `spec`, one per process and content. Raises `ModelRefused`."""
    return _models.get(spec)


def close_language_models() -> None:
    """At the end of the process: close what is idle now, the rest when its calls are over."""
    _models.clear()


async def aclose_language_models() -> None:
    """At the end of an event loop: close its connections. Calls still under way on it fail."""
    await _models.hang_up()
    await close_litellm_clients()


def build(spec: LanguageModelSpec) -> dspy.LM:
    """A new `dspy.LM`: no cache, no retries, no history of DSPy's own; the engines see to all of it."""
    _check(spec)
    chain = [spec] if is_matcher(spec) else flattened(spec)
    engine = AsyncMeteredEngine([Link(link) for link in chain])
    try:
        return dspy.LM(
            spec.name,
            engine=MeteredEngine(engine),
            async_engine=engine,
            cache=False,
            num_retries=0,
            **spec.parameters,
        )
    except (dspy.LMConfigurationError, TypeError, ValueError) as error:
        raise refused(spec, f"The parameters of the model are not valid: {error}") from None


def _check(spec: LanguageModelSpec) -> None:
    if spec.kind is not LanguageModelKind.CHAT:
        raise refused(spec, "An embedding model cannot be asked for text.")
    if spec.provider == "builtin" and not is_matcher(spec):
        raise refused(spec, f"There is no built-in model called {spec.name}.")
    if unusable := sorted(_OURS & spec.parameters.keys()):
        raise refused(spec, f"Not parameters of a model: {', '.join(unusable)}.")
    for fallback in flattened(spec)[1:]:
        if is_matcher(fallback):
            raise refused(spec, "The example matcher cannot stand in for a language model.")
        if fallback.kind is not LanguageModelKind.CHAT:
            raise refused(spec, f"{fallback.name} cannot stand in: it is an embedding model.")


def _content(spec: LanguageModelSpec) -> dict[str, Any]:
    content = {field.name: getattr(spec, field.name) for field in fields(spec)}
    content["api_key"] = hashlib.sha256(spec.api_key.encode()).hexdigest() if spec.api_key else None
    content["parameters"] = dict(spec.parameters)
    content["fallbacks"] = [_content(fallback) for fallback in spec.fallbacks]
    return content


def _retire(model: dspy.LM) -> None:
    for link in model.engine.async_engine.chain:
        link.retire()


def _start_anew() -> None:
    """After a fork: sockets and loops belong to the parent.

    The old objects are kept, for closing them would take the sockets out of the event loops that the parent waits on.
    """
    global _models  # noqa: PLW0603  # the old lock may be held by a thread that is gone
    _inherited.append(_models)
    _models = LanguageModels()
    forget_bridge()
    matcher.cache_clear()


_models = LanguageModels()
_inherited: list[LanguageModels] = []
os.register_at_fork(after_in_child=_start_anew)
