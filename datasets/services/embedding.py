"""Vectors of a corpus and of what is searched in it: asked for, accounted for, paid for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from datasets import errors
from datasets.models import Corpus, Import
from datasets.selectors import embedding_spec_of
from mlops.models import CreditEntry, LanguageModel, User
from mlops.models.base import new_id
from mlops.money import as_decimal, from_decimal
from mlops.runtime.embeddings import Vectors, embed
from mlops.runtime.engines import failure_of
from mlops.runtime.recorder import Recorder, recording
from mlops.selectors import language_model_spec
from mlops.services.credits import Subject, credits_for, ending_key, reserve, settle
from mlops.types import PICO_PER_USD, LanguageModelSpec, TokenUsage

CHARACTERS_PER_TOKEN = 3
"""Low on purpose: a reservation is an upper estimate."""


@dataclass(slots=True)
class EmbeddingAccount:
    """What the embeddings of an import have used so far, those of attempts that were lost too. `cost` is pico-dollars,
    None once it is unknown."""

    model: str = ""
    input_tokens: int = 0
    cost: int | None = 0

    @classmethod
    def of(cls, report: Mapping[str, Any], model: LanguageModel | None) -> Self:
        """The account of an import whose report an earlier attempt may have begun."""
        if model is None:
            return cls()
        kept = report.get("embedding") or {"input_tokens": 0, "cost_usd": "0"}
        cost = kept["cost_usd"]
        return cls(model.name, kept["input_tokens"], None if cost is None else from_decimal(cost, PICO_PER_USD))

    def add(self, usage: TokenUsage, cost: int | None) -> None:
        self.input_tokens += usage.input
        self.cost = None if cost is None or self.cost is None else self.cost + cost

    def as_json(self) -> dict[str, Any]:
        if not self.model:
            return {}
        cost = None if self.cost is None else as_decimal(self.cost, PICO_PER_USD)
        return {"embedding": {"model": self.model, "input_tokens": self.input_tokens, "cost_usd": cost}}


def embedded(model: LanguageModel, texts: Sequence[str], account: EmbeddingAccount) -> Vectors:
    """The vectors of `texts`; `account` hears what they used, also of an attempt that failed.

    Raises `Unavailable` (`embedding_failed`, `embedding_model_disabled`).
    """
    if not LanguageModel.objects.enabled().filter(pk=model.pk).exists():
        raise errors.embedding_model_disabled()
    return _asked(language_model_spec(model), texts, account)


def embedded_query(*, actor: User, corpus: Corpus, query: str) -> Vectors:
    """The vector of a query in `corpus`, charged to `actor`. Raises as `embedded` and `embedding_spec_of`."""
    spec = embedding_spec_of(corpus.pk)
    account = EmbeddingAccount(spec.name)
    reservation = reserve(
        user=actor, amount=_estimate(spec, len(query)), key=f"search:{new_id()}", subject=Subject("corpus", corpus.pk)
    )
    try:
        vector: Vectors = _asked(spec, [query], account)[0]
    finally:
        settle(reservation=reservation, used=credits_for(account.cost or 0))
    return vector


def reserve_embedding(job: Import, model: LanguageModel, characters: int) -> None:
    """Hold back what embedding `characters` may cost at most; a further attempt finds the reservation of the first.

    Raises `InsufficientCredits` (`insufficient_credits`).
    """
    if CreditEntry.objects.filter(key=_key(job)).exists():
        return
    amount = _estimate(language_model_spec(model), characters)
    reserve(user=job.user, amount=amount, key=_key(job), subject=Subject("import", job.pk))


def settle_embedding(job: Import) -> None:
    """End the reservation of an import that has ended: what its report says was used is charged. Repeatable."""
    reservation = CreditEntry.objects.filter(key=_key(job)).first()
    if reservation is None or CreditEntry.objects.filter(key=ending_key(reservation.key)).exists():
        return
    settle(reservation=reservation, used=credits_used(job))


def credits_used(job: Import) -> int:
    """Micro-credits that the embeddings of an import used, as its report says."""
    cost = (job.report.get("embedding") or {}).get("cost_usd") or "0"
    return credits_for(from_decimal(cost, PICO_PER_USD))


def _asked(spec: LanguageModelSpec, texts: Sequence[str], account: EmbeddingAccount) -> Vectors:
    recorder = Recorder()
    try:
        with recording(recorder):
            return embed(spec, texts).vectors
    except Exception as error:
        raise errors.embedding_failed(failure_of(error).message) from error
    finally:
        account.add(recorder.usage, recorder.cost)


def _estimate(spec: LanguageModelSpec, characters: int) -> int:
    """Micro-credits."""
    tokens = TokenUsage(input=characters // CHARACTERS_PER_TOKEN + 1)
    return 0 if spec.price is None else credits_for(spec.price.of(tokens))


def _key(job: Import) -> str:
    return f"import:{job.pk}"
