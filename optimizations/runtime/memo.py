"""Answers that a job has paid for, under names that are the same when it runs again.

The name of an answer is the hash of its request and which occurrence of that request it is. DSPy asks the same thing
again where it wants another answer (`rollout_id` does not reach engines), so the occurrence belongs to the name.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from dspy._vendor.lm15.serde import request_to_dict, response_from_dict, response_to_dict
from dspy.lm15 import Request, Response

from mlops.runtime.recorder import Recorder
from mlops.sanitiser import hide, is_plain_storable, replace_unstorable
from mlops.types import ModelErrorCode, ModelFailure, SpanKind, TokenUsage
from optimizations.runtime.guard import Guard, Spent
from optimizations.runtime.ports import CompilePorts


class Memo:
    """The memo of one run. Counts occurrences by itself; what was stored comes from, and goes to, the ports."""

    def __init__(self, ports: CompilePorts, guard: Guard) -> None:
        self._ports, self._guard = ports, guard
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()

    def next_of(self, request_hash: str) -> tuple[str, int]:
        """The name of the next answer to this request."""
        with self._lock:
            occurrence = self._seen[request_hash]
            self._seen[request_hash] += 1
        return request_hash, occurrence

    def get(self, name: tuple[str, int]) -> Mapping[str, Any] | None:
        return self._guard.through(self._ports.memo_get, *name)

    def put(self, name: tuple[str, int], stored: Mapping[str, Any]) -> None:
        self._guard.through(self._ports.memo_put, *name, stored)


def hash_of(content: Any) -> str:
    """SHA-256 of a JSON value."""
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()


def hash_of_request(model: str, request: Request) -> str:
    """The hash of everything that `model` (the id of its specification) is told."""
    return hash_of({"model": model, "request": request_to_dict(request)})


def stored_response(response: Response) -> dict[str, Any]:
    """A response as JSON; nothing is lost."""
    stored: dict[str, Any] = response_to_dict(response, include_provider_data=True)
    return stored


def response_of(stored: Mapping[str, Any]) -> Response:
    return response_from_dict(dict(stored))


def stored_failure(failure: ModelFailure) -> dict[str, Any]:
    return {**asdict(failure), "code": failure.code.value}


def failure_from(stored: Mapping[str, Any]) -> ModelFailure:
    return ModelFailure(**{**stored, "code": ModelErrorCode(stored["code"])})


def stored_spent(spent: Spent) -> dict[str, Any]:
    usage = {name: asdict(usage) for name, usage in spent.by_model.items()}
    return {"calls": spent.calls, "usage": usage, "cost": spent.cost}


def spent_from(stored: Mapping[str, Any]) -> Spent:
    usage = {name: TokenUsage(**tokens) for name, tokens in stored["usage"].items()}
    return Spent(stored["calls"], usage, stored["cost"])


def spent_of(recorder: Recorder, *, calls: int | None = None) -> Spent:
    """What was recorded; `calls` are counted by their spans where the caller does not know better."""
    if calls is None:
        calls = sum(step.kind is SpanKind.LLM for step in recorder.spans)
    return Spent(calls, dict(recorder.by_model), recorder.cost)


def storable(stored: dict[str, Any], recorder: Recorder) -> dict[str, Any]:
    """What may be kept of an answer: no secret that the provider repeated, nothing that a database refuses."""
    if secrets := recorder.repeated_secrets:
        stored = hide(stored, secrets)
    if not is_plain_storable(stored):
        stored, _is_changed = replace_unstorable(stored)
    return stored
