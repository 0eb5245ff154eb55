"""Words and values that every room may use: enums and frozen dataclasses, no Django, no DSPy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeAlias
from uuid import UUID

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


class Scope(StrEnum):
    """What a token may be used for; never more than the role of its owner allows."""

    READ = "read"
    EXECUTE = "execute"
    ENGINEER = "engineer"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token allows, until when: its scopes, and the names of the programs it is good for (none: all)."""

    token: UUID
    scopes: frozenset[Scope]
    programs: frozenset[str] = frozenset()
    rate_limit: int | None = None
    expires_at: datetime | None = None


class CreditKind(StrEnum):
    """Kinds of ledger lines. Only `grant` and `refund` are made by people."""

    GRANT = "grant"
    RESERVE = "reserve"
    SETTLE = "settle"
    RELEASE = "release"
    REFUND = "refund"


class JobState(StrEnum):
    """How far a piece of accepted work has got; the last three are ends."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL_STATES = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED})


class BudgetScope(StrEnum):
    """What a budget limits the spending of."""

    USER = "user"
    PROGRAM = "program"
    LANGUAGE_MODEL = "language_model"
    INSTALLATION = "installation"


class BudgetCycle(StrEnum):
    """How long a budget's limit lasts, in UTC."""

    DAY = "day"
    MONTH = "month"


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
    PROVIDER_REFUSED = "provider_refused"
    UNPARSABLE_OUTPUT = "unparsable_output"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens of one or more model calls, in lines that never count a token twice: `cached` (read from the provider's
    cache) and `cache_write` are parts of `input`, `reasoning` is a part of `output`.

    `requests` were billed, of which the longest had `largest_input` tokens; `unpriced` of them were billed by something
    that these lines do not tell: no usage given, another service tier, audio, images.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    reasoning: int = 0
    cache_write: int = 0
    requests: int = 0
    largest_input: int = 0
    unpriced: int = 0

    @classmethod
    def from_json(cls, lines: Mapping[str, Any]) -> TokenUsage:
        """What `as_json` wrote, perhaps before a line was added."""
        return cls(**{line: lines.get(line, 0) for line in USAGE_LINES})

    @property
    def total(self) -> int:
        return self.input + self.output

    def __add__(self, other: TokenUsage) -> TokenUsage:
        return TokenUsage(
            self.input + other.input,
            self.output + other.output,
            self.cached + other.cached,
            self.reasoning + other.reasoning,
            self.cache_write + other.cache_write,
            self.requests + other.requests,
            max(self.largest_input, other.largest_input),
            self.unpriced + other.unpriced,
        )

    def __sub__(self, other: TokenUsage) -> TokenUsage:
        """What was used besides `other`; the longest request stays the longest of both."""
        return TokenUsage(
            self.input - other.input,
            self.output - other.output,
            self.cached - other.cached,
            self.reasoning - other.reasoning,
            self.cache_write - other.cache_write,
            self.requests - other.requests,
            self.largest_input,
            self.unpriced - other.unpriced,
        )

    def as_json(self) -> dict[str, int]:
        return {
            "total": self.input + self.output,
            "input": self.input,
            "output": self.output,
            "cached": self.cached,
            "reasoning": self.reasoning,
            "cache_write": self.cache_write,
            "requests": self.requests,
            "largest_input": self.largest_input,
            "unpriced": self.unpriced,
        }


USAGE_LINES = tuple(line.name for line in fields(TokenUsage))


@dataclass(frozen=True, slots=True)
class Price:
    """One dated price row: pico-dollars per token, which is micro-dollars per million tokens, and per `request`.

    Without a price of its own (None) a cache write costs what input does, and reasoning what output does. The row holds
    for requests of at most `input_limit` tokens; what longer ones cost, it does not say.
    """

    id: str
    input: int
    cached_input: int
    output: int
    cache_write: int | None = None
    reasoning: int | None = None
    request: int = 0
    input_limit: int | None = None

    def covers(self, usage: TokenUsage) -> bool:
        """Whether `of` is the whole cost of `usage`."""
        return not usage.unpriced and (self.input_limit is None or usage.largest_input <= self.input_limit)

    def of(self, usage: TokenUsage) -> int:
        """Cost in pico-dollars, each token by the price of its own line and no token twice."""
        fresh = usage.input - usage.cached - usage.cache_write
        write = self.input if self.cache_write is None else self.cache_write
        reasoning = self.output if self.reasoning is None else self.reasoning
        return (
            fresh * self.input
            + usage.cached * self.cached_input
            + usage.cache_write * write
            + (usage.output - usage.reasoning) * self.output
            + usage.reasoning * reasoning
            + usage.requests * self.request
        )

    @property
    def is_free(self) -> bool:
        return not any((self.input, self.cached_input, self.output, self.cache_write, self.reasoning, self.request))

    def at_most(self, usage: TokenUsage) -> int:
        """The highest cost that so many tokens can have, whichever lines they fall into."""
        read = max(self.input, self.cached_input, self.cache_write or 0)
        written = max(self.output, self.reasoning or 0)
        return usage.input * read + usage.output * written + usage.requests * self.request


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
