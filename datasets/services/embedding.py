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
from mlops.services.budgets import Charged, budgeted
from mlops.services.credits import MAX_AMOUNT, Subject, credits_for, credits_owed, ending_key, reserve, settle
from mlops.services.paying import paying
from mlops.types import PICO_PER_USD, LanguageModelSpec, TokenUsage

CHARACTERS_PER_TOKEN = 3
"""Low on purpose: a reservation is an upper estimate."""


@dataclass(slots=True)
class EmbeddingAccount:
    """What the embeddings of an import have used so far, those of attempts that were lost too. `known_cost` is
    pico-dollars of requests whose cost is known; `is_unpriced` when there were others."""

    model: str = ""
    input_tokens: int = 0
    known_cost: int = 0
    is_unpriced: bool = False

    @classmethod
    def of(cls, report: Mapping[str, Any]) -> Self:
        """The account of an import as its report says, if it says something."""
        kept = report.get("embedding")
        if not kept:
            return cls()
        is_unpriced = kept["cost_usd"] is None
        known = kept.get("known_cost_usd", "0") if is_unpriced else kept["cost_usd"]
        return cls(kept["model"], kept["input_tokens"], from_decimal(known, PICO_PER_USD), is_unpriced)

    def add(self, recorder: Recorder) -> None:
        self.input_tokens += recorder.usage.input
        self.known_cost += recorder.known_cost
        self.is_unpriced = self.is_unpriced or recorder.cost is None

    def as_json(self) -> dict[str, Any]:
        if not self.model:
            return {}
        known = as_decimal(self.known_cost, PICO_PER_USD)
        cost = {"cost_usd": None, "known_cost_usd": known} if self.is_unpriced else {"cost_usd": known}
        return {"embedding": {"model": self.model, "input_tokens": self.input_tokens, **cost}}


def embedded(job: Import, model: LanguageModel, texts: Sequence[str], account: EmbeddingAccount) -> Vectors:
    """The vectors of `texts`; `account` hears what they used, also of an attempt that failed, and so do budgets.

    Raises `Unavailable` (`embedding_failed`, `embedding_model_disabled`) and `InsufficientCredits`
    (`budget_exhausted`).
    """
    if not LanguageModel.objects.enabled().filter(pk=model.pk).exists():
        raise errors.embedding_model_disabled()
    spec, recorder = language_model_spec(model), Recorder()
    account.model = spec.name
    charged = _charged(job.user, spec, sum(map(len, texts)))
    try:
        with budgeted(user=job.user, charged=charged, recorder=recorder):
            return _asked(spec, texts, recorder)
    finally:
        account.add(recorder)


def embedded_query(*, actor: User, corpus: Corpus, query: str) -> Vectors:
    """The vector of a query in `corpus`, paid for by `actor`. Raises as `embedding_spec_of`, `Unavailable`
    (`embedding_failed`) and `InsufficientCredits` (`price_unknown`, `budget_exhausted`, `insufficient_credits`)."""
    spec, recorder = embedding_spec_of(corpus.pk), Recorder()
    _refuse_unpriced(actor, spec)
    subject = Subject("corpus", corpus.pk)
    charged = _charged(actor, spec, len(query))
    with paying(user=actor, charged=charged, key=f"search:{new_id()}", subject=subject, recorder=recorder):
        vector: Vectors = _asked(spec, [query], recorder)[0]
    return vector


def reserve_embedding(job: Import, model: LanguageModel, characters: int) -> None:
    """Hold back what embedding `characters` may cost at most; a further attempt finds the reservation of the first.

    Raises `InsufficientCredits` (`price_unknown`, `insufficient_credits`).
    """
    if CreditEntry.objects.filter(key=_key(job)).exists():
        return
    spec = language_model_spec(model)
    _refuse_unpriced(job.user, spec)
    amount = min(credits_for(_most(spec, characters)), MAX_AMOUNT)
    reserve(user=job.user, amount=amount, key=_key(job), subject=Subject("import", job.pk))


def settle_embedding(job: Import) -> None:
    """End the reservation of an import that has ended: what its report says was used is charged. Repeatable."""
    reservation = CreditEntry.objects.filter(key=_key(job)).first()
    if reservation is None or CreditEntry.objects.filter(key=ending_key(reservation.key)).exists():
        return
    settle(reservation=reservation, used=credits_used(job))


def credits_used(job: Import) -> int:
    """Micro-credits that the embeddings of an import used, as its report says; where something of it has no known cost,
    at least what was reserved."""
    account = EmbeddingAccount.of(job.report)
    reservation = CreditEntry.objects.get(key=_key(job))
    owed = credits_owed(
        known_cost=account.known_cost, is_unpriced=account.is_unpriced, reserved=-reservation.amount
    )  # fmt: skip
    return min(owed, MAX_AMOUNT)


def _asked(spec: LanguageModelSpec, texts: Sequence[str], recorder: Recorder) -> Vectors:
    try:
        with recording(recorder):
            return embed(spec, texts).vectors
    except Exception as error:
        raise errors.embedding_failed(failure_of(error).message) from error


def _charged(user: User, spec: LanguageModelSpec, characters: int) -> Charged:
    """To which budgets one request counts. What is not free costs something: a budget that is used up refuses it."""
    cost = max(_most(spec, characters), int(spec.price is not None and not spec.price.is_free))
    return Charged(user.pk, "", cost, {spec.name: cost})


def _most(spec: LanguageModelSpec, characters: int) -> int:
    """Pico-dollars that reading so much may cost; 0 where no price is known."""
    usage = TokenUsage(input=characters // CHARACTERS_PER_TOKEN + 1, requests=1)
    return 0 if spec.price is None else spec.price.at_most(usage)


def _refuse_unpriced(user: User, spec: LanguageModelSpec) -> None:
    if user.is_stopped_by_credits and spec.price is None:
        raise errors.embedding_price_unknown()


def _key(job: Import) -> str:
    return f"import:{job.pk}"
