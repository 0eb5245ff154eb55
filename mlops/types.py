"""Words and values that every room may use: enums and frozen dataclasses, no Django, no DSPy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"

PICO_PER_USD = 10**12
"""Cost is counted in pico-dollars, so that a price per token of any provider is an integer."""

MICRO_PER_CREDIT = 10**6
"""Credits are counted in micro-credits."""


MATCHER_NAME = "builtin/example-matcher-1"
"""The built-in stand-in of a fresh installation: not a language model, and never the fallback of one."""

MATCHER_NOTICE = "Example matcher: not a language model; it copies and compares text"
"""What every execution and page says that the example matcher had a part in."""


class Role(StrEnum):
    """What a person is to this installation; the policy table reads it."""

    ADMIN = "admin"
    ML_ENGINEER = "ml_engineer"
    ML_USER = "ml_user"


class CreditKind(StrEnum):
    """Kinds of ledger lines. Only `grant` and `refund` are made by people."""

    GRANT = "grant"
    RESERVE = "reserve"
    SETTLE = "settle"
    RELEASE = "release"
    REFUND = "refund"


class LanguageModelKind(StrEnum):
    CHAT = "chat"
    EMBEDDING = "embedding"


class SpanKind(StrEnum):
    """Kinds of the steps of a trace."""

    MODULE = "module"
    LLM = "llm"
    TOOL = "tool"
    RETRIEVER = "retriever"
    EMBEDDING = "embedding"


class ModelErrorCode(StrEnum):
    """How a call of a language model can fail, whatever the provider calls it."""

    RATE_LIMITED = "rate_limited"
    PROVIDER_UNAVAILABLE = "provider_unavailable"
    TIMEOUT = "timeout"
    AUTHENTICATION = "authentication"
    CONTEXT_WINDOW = "context_window"
    INVALID_REQUEST = "invalid_request"
    UNPARSABLE_OUTPUT = "unparsable_output"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens of one or more model calls. `cached` is a part of `input`, `reasoning` a part of `output`."""

    input: int = 0
    output: int = 0
    cached: int = 0
    reasoning: int = 0

    @property
    def total(self) -> int:
        return self.input + self.output

    def __add__(self, other: TokenUsage) -> TokenUsage:
        return TokenUsage(
            self.input + other.input,
            self.output + other.output,
            self.cached + other.cached,
            self.reasoning + other.reasoning,
        )

    def as_json(self) -> dict[str, int]:
        return {
            "total": self.total,
            "input": self.input,
            "output": self.output,
            "cached": self.cached,
            "reasoning": self.reasoning,
        }


@dataclass(frozen=True, slots=True)
class Price:
    """One dated price row. Every figure is pico-dollars per token, which is micro-dollars per million tokens."""

    id: str
    input: int
    cached_input: int
    output: int

    def of(self, usage: TokenUsage) -> int:
        """Cost in pico-dollars; cached input tokens are charged at their own price, not twice."""
        fresh = usage.input - usage.cached
        return fresh * self.input + usage.cached * self.cached_input + usage.output * self.output


@dataclass(frozen=True, slots=True)
class LanguageModelSpec:
    """What the runtime needs to know to call a language model: one row, its secret and its fallbacks resolved.

    `timeout_s` bounds one attempt, `deadline_s` the whole call with its retries and fallbacks. The limits on what the
    model supports are `None` where the provider's own table is to be believed.
    """

    id: str
    name: str
    kind: LanguageModelKind = LanguageModelKind.CHAT
    api_base: str | None = None
    api_key: str | None = field(default=None, repr=False)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    timeout_s: float = 60.0
    deadline_s: float = 120.0
    max_retries: int = 2
    concurrency_limit: int = 256
    supports_tools: bool | None = None
    supports_json_schema: bool | None = None
    price: Price | None = None
    fallbacks: tuple[LanguageModelSpec, ...] = ()

    @property
    def provider(self) -> str:
        return self.name.partition("/")[0]


@dataclass(frozen=True, slots=True)
class ModelFailure:
    """Why a model call failed at last, in words that may be shown: no secret, no prompt, no traceback."""

    code: ModelErrorCode
    message: str
    model: str = ""
    retry_after_s: float | None = None
