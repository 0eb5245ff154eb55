"""Texts as vectors of an embedding model: in requests of bounded size, retried, metered, of length 1.

lm15 has no embeddings of its own. Where it speaks the OpenAI dialect, its connection, its authentication and its
reading of errors serve for `POST /embeddings` too; all other providers go through LiteLLM. There are no fallbacks:
vectors of two models cannot be compared.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from dspy._vendor.lm15.providers.async_base import AsyncOpenAIChatLM
from dspy.clients.engines.litellm_errors import to_lm15_error

from mlops.runtime.engines.bridge import bridge
from mlops.runtime.engines.failures import call_failure, raised, refused
from mlops.runtime.engines.links import Client, Link
from mlops.runtime.engines.litellm_door import close_litellm_clients, litellm_loaded, refusals_told
from mlops.runtime.engines.patience import Patience
from mlops.runtime.engines.providers import key_of
from mlops.runtime.recorder import Recorder, Span, current_recorder, span
from mlops.types import LanguageModelKind, LanguageModelSpec, ModelErrorCode, ModelFailure, SpanKind, TokenUsage

Vectors = npt.NDArray[np.float32]

MAX_TEXTS = 96
"""Texts of one request: the smallest limit among the known providers."""

MAX_CHARACTERS = 200_000
"""Characters of one request, as far as single texts allow."""

KEPT = 16
"""Embedding models that a process keeps connections for."""

LARGEST = 1e30
"""No number of a vector is as large; its square has to be a number too."""

_PARAMETERS = frozenset({"dimensions"})
"""Parameters of a language model's row that mean something to an embedding."""

_WITHOUT_DIALECT = frozenset({"azure"})
"""Providers that lm15 reaches in the OpenAI dialect for chat, with other addresses for embeddings."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """One vector of length 1 per text, as rows in the order of the texts; of a vector of zeros, zeros.

    `cost` is pico-dollars, None when the model has no price or told no usage.
    """

    vectors: Vectors
    usage: TokenUsage
    cost: int | None


class UnusableVectors(ValueError):
    """An answer that is not one vector for each text."""


async def aembed(spec: LanguageModelSpec, texts: Sequence[str]) -> Embedded:
    """The vectors of `texts`, each request recorded as an embedding span of the running execution.

    Raises `ModelRefused` when the specification is not one of an embedding model, else errors that `failure_of`
    explains. What was billed before an error stands in the recorder.
    """
    link = _links.get(spec)
    answers = [await _request(link, batch) for batch in batches(texts)]
    if len({answer.vectors.shape[1] for answer in answers}) > 1:
        raise raised(_failure_of_answer(spec, "The vectors of two requests have different lengths."))
    return _together(answers)


def embed(spec: LanguageModelSpec, texts: Sequence[str]) -> Embedded:
    """As `aembed`. It blocks: never call it on an event loop that others use."""
    return bridge().run(aembed(spec, texts))


async def aclose_embedding_models() -> None:
    """At the end of an event loop: close its connections."""
    await _links.hang_up()
    await close_litellm_clients()


def batches(texts: Sequence[str]) -> Iterator[list[str]]:
    """`texts` in order, cut so that each part may be one request."""
    batch: list[str] = []
    size = 0
    for text in texts:
        if batch and (len(batch) == MAX_TEXTS or size + len(text) > MAX_CHARACTERS):
            yield batch
            batch, size = [], 0
        batch.append(text or " ")  # providers refuse an empty text
        size += len(text)
    if batch:
        yield batch


def normalised(vectors: npt.NDArray[np.float64]) -> Vectors:
    """Rows of length 1, so that their dot product is the cosine; rows of zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: npt.NDArray[np.float64] = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return scaled.astype(np.float32)


class _Links:
    """The embedding models of this process, by the content of their specification."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, Link] = OrderedDict()

    def get(self, spec: LanguageModelSpec) -> Link:
        """The link of `spec`. Raises `ModelRefused`."""
        if spec.kind is not LanguageModelKind.EMBEDDING:
            raise refused(spec, "A chat model cannot be asked for vectors.")
        if spec.provider == "builtin":
            raise refused(spec, f"There is no built-in model called {spec.name}.")
        content = hashlib.sha256(repr((spec, spec.api_key)).encode()).digest()
        with self._lock:
            if content not in self._kept:
                self._kept[content] = _link_to(spec)
            self._kept.move_to_end(content)
            evicted = [self._kept.popitem(last=False)[1] for _ in range(len(self._kept) - KEPT)]
            link = self._kept[content]
        for one in evicted:
            one.retire()
        return link

    async def hang_up(self) -> None:
        for link in list(self._kept.values()):
            await link.hang_up()


def _link_to(spec: LanguageModelSpec) -> Link:
    # Of a chat request's parameters an embedding knows none, and lm15 refuses those of an embedding in a chat request.
    link = Link(replace(spec, parameters={}, fallbacks=()))
    link.described["parameters"] = parameters = _parameters_of(spec)
    link.spec = replace(link.spec, parameters=parameters)
    return link


def _parameters_of(spec: LanguageModelSpec) -> dict[str, Any]:
    return {name: value for name, value in spec.parameters.items() if name in _PARAMETERS and value is not None}


async def _request(link: Link, texts: list[str]) -> Embedded:
    """One request with its retries, within the deadline of the model."""
    with span(SpanKind.EMBEDDING, link.spec.name, input={"texts": len(texts)}) as opened:
        account = _Account(link, opened)
        patience = Patience([link.spec])
        while True:
            limit_s, began = patience.attempt_s, time.perf_counter()
            try:
                answer = await _attempt(link, texts, patience)
                return account.answered(answer, len(texts))
            except UnusableVectors as error:
                failure = _failure_of_answer(link.spec, str(error))
            except Exception as error:
                failure = call_failure(error, link.spec, prompt="\n".join(texts), limit_s=limit_s)
            finally:
                account.tried(time.perf_counter() - began, patience)
            account.failed(failure)
            wait_s = patience.wait_after(failure)
            if wait_s is None:
                raise raised(failure)
            await asyncio.sleep(wait_s)


async def _attempt(link: Link, texts: list[str], patience: Patience) -> Mapping[str, Any]:
    client = link.client()
    await client.enter(patience.left_s)
    try:
        async with asyncio.timeout(patience.attempt_s):
            if _speaks_openai(link, client):
                return await _asked_natively(link, client, texts)
            return await _asked_through_litellm(link.spec, texts)
    finally:
        await client.leave()


def _speaks_openai(link: Link, client: Client) -> bool:
    return isinstance(client.line.speaker, AsyncOpenAIChatLM) and link.spec.provider not in _WITHOUT_DIALECT


async def _asked_natively(link: Link, client: Client, texts: list[str]) -> Mapping[str, Any]:
    speaker: Any = client.line.speaker
    body = {"model": client.line.model, "input": texts, "encoding_format": "float", **link.spec.parameters}
    wire: Any = speaker._inner
    address = f"{speaker.base_url.rstrip('/')}/embeddings"
    response = await speaker._send(wire._emit(method="POST", url=address, headers=wire._headers(), payload=body))
    if response.status >= 400:
        raise wire._http_error(response)
    return _as_object(response.body)


def _as_object(body: bytes) -> Mapping[str, Any]:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UnusableVectors("The provider gave an answer that is not JSON.") from None
    if not isinstance(answer, Mapping):
        raise UnusableVectors("The provider gave an answer that is not a JSON object.")
    return answer


async def _asked_through_litellm(spec: LanguageModelSpec, texts: list[str]) -> Mapping[str, Any]:
    litellm = await litellm_loaded()
    settings = {"api_key": key_of(spec), "api_base": spec.api_base, "timeout": spec.timeout_s, "max_retries": 0}
    given = {name: value for name, value in settings.items() if value is not None}
    try:
        with refusals_told():
            response = await litellm.aembedding(model=spec.name, input=texts, **given, **spec.parameters)
    except Exception as error:
        raise to_lm15_error(error, model=spec.name) from error
    answer: Mapping[str, Any] = response.model_dump()
    return answer


class _Account:
    """What is noted of one request in its span and in the recorder of the running execution."""

    def __init__(self, link: Link, opened: Span) -> None:
        self._recorder = current_recorder() or Recorder()
        self._link = link
        self._span = opened
        opened.model = link.spec.name
        self._recorder.models.setdefault(link.spec.name, link.described)

    def answered(self, answer: Mapping[str, Any], count: int) -> Embedded:
        """The vectors of an answer, which is billed whether they can be used or not. Raises `UnusableVectors`."""
        usage, cost = self._billed(answer.get("usage"))
        vectors = _vectors_of(answer.get("data"), count)
        self._span.error = ""
        self._span.attributes["dimensions"] = vectors.shape[1]
        return Embedded(vectors, usage, cost)

    def tried(self, seconds: float, patience: Patience) -> None:
        self._recorder.waited_s += seconds
        self._span.retries = patience.retries

    def failed(self, failure: ModelFailure) -> None:
        attempts = self._span.attributes.setdefault("attempts", [])
        attempts.append({"model": failure.model, "code": failure.code.value, "message": failure.message})
        self._span.error = f"{failure.code.value}: {failure.message}"

    def _billed(self, told: Any) -> tuple[TokenUsage, int | None]:
        tokens = told.get("prompt_tokens") or told.get("total_tokens") if isinstance(told, Mapping) else None
        usage = TokenUsage(requests=1, unpriced=1)
        if isinstance(tokens, int) and tokens >= 0:
            usage = TokenUsage(input=tokens, requests=1, largest_input=tokens)
        cost = self._recorder.meter(self._link.spec.name, usage, self._link.spec.price)
        if self._span.usage is None:
            self._span.usage, self._span.cost = usage, cost
        else:
            self._span.usage += usage
            self._span.cost = None if cost is None or self._span.cost is None else self._span.cost + cost
        return self._span.usage, self._span.cost


def _vectors_of(data: Any, count: int) -> Vectors:
    if not isinstance(data, list) or not all(isinstance(item, Mapping) for item in data):
        raise UnusableVectors("The provider gave an answer without vectors.")
    if len(data) != count:
        raise UnusableVectors(f"The provider gave {len(data)} vectors for {count} texts.")
    rows = [item.get("embedding") for item in sorted(data, key=_index_of)]
    try:
        vectors = np.array(rows, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise UnusableVectors("The provider gave vectors of different lengths, or no numbers.") from None
    if vectors.ndim != 2 or vectors.shape[1] == 0:
        raise UnusableVectors("The provider gave vectors of different lengths, or no numbers.")
    if not (np.abs(vectors) < LARGEST).all():  # which no NaN is
        raise UnusableVectors("The provider gave vectors with numbers that are none.")
    return normalised(vectors)


def _index_of(item: Mapping[str, Any]) -> int:
    index = item.get("index")
    return index if isinstance(index, int) else 0


def _together(answers: Sequence[Embedded]) -> Embedded:
    costs = [answer.cost for answer in answers]
    return Embedded(
        vectors=np.concatenate([answer.vectors for answer in answers]) if answers else np.zeros((0, 0), np.float32),
        usage=sum((answer.usage for answer in answers), TokenUsage()),
        cost=None if None in costs else sum(cost for cost in costs if cost is not None),
    )


def _failure_of_answer(spec: LanguageModelSpec, message: str) -> ModelFailure:
    return ModelFailure(ModelErrorCode.PROVIDER_UNAVAILABLE, message, spec.name)


def _start_anew() -> None:
    """After a fork: sockets and loops belong to the parent. The old links are kept, as those of chat models are."""
    global _links  # noqa: PLW0603  # the old lock may be held by a thread that is gone
    _inherited.append(_links)
    _links = _Links()


_links = _Links()
_inherited: list[_Links] = []
os.register_at_fork(after_in_child=_start_anew)
