"""How much to hold back for an execution: what limits and prompts allow, or what the program's past has shown.

Where every call has a limit of its own, that is the bound. Where one has none, and for agents, whose number of calls
nobody knows, the dearest of the latest executions, with a margin, tells more than a constant does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any
from uuid import UUID

from executions.models import Execution
from mlops.caching import ShortCache
from mlops.types import LanguageModelSpec, Price, TokenUsage
from programs.runtime.built import BuiltProgram
from programs.types import PREDICTING_KINDS, ModuleKind, ModuleSpec

ASCII_PER_TOKEN = 3
"""Low on purpose: what is held back is an upper estimate."""

BEYOND_ASCII = bytes(range(128, 256))

DEFAULT = ""
"""The key of the default language model among a plan's models."""

DEFAULT_MAX_TOKENS = 1024
DEFAULT_ITERATIONS = 20

LATEST = 100
"""Executions that the past is read from, at most."""

FEWEST = 5
"""Fewer say too little."""

MARGIN_PERCENT = 150
PAST_S = 60.0

_NOTHING: Mapping[str, Any] = MappingProxyType({})


def most_tokens(text: bytes) -> int:
    """How many tokens UTF-8 `text` may be. Outside of ASCII a tokenizer may need one for each byte, and never more."""
    plain = len(text) if text.isascii() else len(text.translate(None, BEYOND_ASCII))
    return -(-plain // ASCII_PER_TOKEN) + len(text) - plain


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one module may need at most: `calls` of a model, each with the prompt and all that was said before.

    `prices` are those of the model and of what may stand in for it, `models` their names. `is_bound`: the model is told
    that it may say no more than `max_tokens`.
    """

    prices: tuple[Price, ...]
    prompt_characters: int
    prompt_tokens: int
    max_tokens: int
    is_bound: bool
    calls: int
    models: tuple[str, ...] = ()

    def usage(self, input_tokens: int) -> TokenUsage:
        prompt = self.prompt_tokens + input_tokens
        said_before = self.max_tokens * self.calls * (self.calls - 1) // 2
        read, written = prompt * self.calls + said_before, self.max_tokens * self.calls
        return TokenUsage(input=read, output=written, requests=self.calls)

    def cost(self, input_tokens: int) -> int:
        """Pico-dollars; 0 where no price is known."""
        return _dearest(self.prices, self.usage(input_tokens))

    def is_beyond_prices(self, input_tokens: int) -> bool:
        """Whether the first prompt may be longer than a price holds for."""
        limits = (price.input_limit for price in self.prices)
        return any(limit is not None and self.prompt_tokens + input_tokens > limit for limit in limits)

    def cost_of_reading(self, input_tokens: int) -> int:
        """Pico-dollars of one call, before anything is said."""
        return _dearest(self.prices, TokenUsage(input=self.prompt_tokens + input_tokens, requests=1))


@dataclass(frozen=True, slots=True)
class Past:
    """The most that one of the latest executions cost, and the most that what the models said cost; pico-dollars."""

    cost: int
    cost_of_answers: int


@dataclass(frozen=True, slots=True)
class Expected:
    """What an execution of a program may cost."""

    estimates: tuple[Estimate, ...]
    past: Past | None

    def cost(self, input: bytes) -> int:
        """Pico-dollars for an execution with this input, as JSON."""
        tokens = most_tokens(input)
        allowed = sum(estimate.cost(tokens) for estimate in self.estimates)
        are_bound = all(estimate.is_bound for estimate in self.estimates)
        if self.past is None or (are_bound and all(estimate.calls == 1 for estimate in self.estimates)):
            return allowed
        reading = sum(estimate.cost_of_reading(tokens) for estimate in self.estimates)
        shown = max(self.past.cost, reading + self.past.cost_of_answers) * MARGIN_PERCENT // 100
        return min(allowed, shown) if are_bound else shown

    def is_beyond_prices(self, input: bytes) -> bool:
        """Whether a prompt with this input, as JSON, may be longer than a price holds for."""
        tokens = most_tokens(input)
        return any(estimate.is_beyond_prices(tokens) for estimate in self.estimates)

    def cost_by_model(self, input: bytes) -> dict[str, int]:
        """The part of `cost` that each model may have in it; what stands in for another may have the other's part."""
        tokens = most_tokens(input)
        allowed = [(estimate.models, estimate.cost(tokens)) for estimate in self.estimates]
        whole, expected = max(sum(part for _models, part in allowed), 1), self.cost(input)
        found: dict[str, int] = {}
        for models, part in allowed:
            for model in models:
                found[model] = found.get(model, 0) - (-expected * part // whole)
        return found


def estimates_of(built: BuiltProgram, models: Mapping[str, LanguageModelSpec]) -> Iterator[Estimate]:
    """Of the program and of those it uses as tools. Each tool counts once: an agent could call it in each of its
    iterations, but holding back credits for all of them would refuse people what they can well pay for."""
    for tool in built.tools.values():
        yield from estimates_of(tool, models)
    for module in built.spec.modules:
        model = models.get(module.language_model or DEFAULT)
        if module.kind in PREDICTING_KINDS and model is not None:
            yield _estimate(module, model)


_pasts: ShortCache[tuple[UUID, UUID | None], Past | None] = ShortCache(seconds=PAST_S, size=512)


def past_of(program_id: UUID, requested: UUID | None, models: Mapping[str, LanguageModelSpec]) -> Past | None:
    """What the latest executions of the program on these models cost, at today's prices. Read once in `PAST_S`."""
    return _pasts.get_or_load((program_id, requested), lambda: _read(program_id, requested, models))


def _read(program_id: UUID, requested: UUID | None, models: Mapping[str, LanguageModelSpec]) -> Past | None:
    rows = Execution.objects.filter(program_id=program_id).order_by("-id")
    usages = rows.values_list("requested_model", "token_usage")[:LATEST]
    return _past([usage["by_model"] for asked, usage in usages if asked == requested and usage.get("by_model")], models)


def _past(usages: Iterable[Mapping[str, Any]], models: Mapping[str, LanguageModelSpec]) -> Past | None:
    """Of executions that called these models only: what others cost says nothing."""
    prices = {spec.name: spec.price for model in models.values() for spec in (model, *model.fallbacks)}
    seen = [
        [(price, TokenUsage.from_json(lines)) for name, lines in usage.items() if (price := prices.get(name))]
        for usage in usages
        if usage.keys() <= prices.keys()
    ]
    if len(seen) < FEWEST:
        return None
    return Past(
        cost=max(sum(price.at_most(used) for price, used in one) for one in seen),
        cost_of_answers=max(sum(price.at_most(TokenUsage(output=used.output)) for price, used in one) for one in seen),
    )


def _estimate(module: ModuleSpec, model: LanguageModelSpec) -> Estimate:
    prompt = f"{module.prompt}{module.signature}"
    return replace(
        estimate_of_call(model, module.config.get("parameters", {})),
        prompt_characters=len(prompt),
        prompt_tokens=most_tokens(prompt.encode(errors="surrogatepass")),
        calls=_calls(module),
    )


def estimate_of_call(model: LanguageModelSpec, own: Mapping[str, Any] = _NOTHING) -> Estimate:
    """Of one call of `model` with an empty prompt; `own` parameters of the caller come before those of the model."""
    stand_ins = (model, *model.fallbacks)
    limits = [_limit({**spec.parameters, **own}) for spec in stand_ins]
    return Estimate(
        prices=tuple(spec.price for spec in stand_ins if spec.price is not None),
        prompt_characters=0,
        prompt_tokens=0,
        max_tokens=max(limit or DEFAULT_MAX_TOKENS for limit in limits),
        is_bound=all(limits),
        calls=1,
        models=tuple(spec.name for spec in stand_ins),
    )


def _limit(parameters: Mapping[str, Any]) -> int | None:
    limit = parameters.get("max_tokens") or parameters.get("max_completion_tokens")
    return int(limit) if limit else None


def _calls(module: ModuleSpec) -> int:
    if module.kind is not ModuleKind.REACT:
        return 1
    return int(module.config.get("max_iterations") or DEFAULT_ITERATIONS) + 1


def _dearest(prices: Sequence[Price], usage: TokenUsage) -> int:
    return max((price.at_most(usage) for price in prices), default=0)
