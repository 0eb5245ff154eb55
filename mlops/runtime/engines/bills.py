"""What an answer used, counted alike for all providers, and whether a price per token can tell what it costs.

Providers differ: OpenAI counts input that was read from its cache as a part of the input, Anthropic apart from it;
OpenAI and Anthropic count reasoning as a part of the output, Gemini and xAI apart from it. LiteLLM has made all of them
alike already, in OpenAI's way, with a name of its own for cache writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from dspy.lm15 import Response, Usage

from mlops.runtime.tiers import tier_of
from mlops.types import TokenUsage

_CACHE_APART = frozenset({"anthropic"})
_REASONING_APART = frozenset({"gemini", "xai"})

_MEDIA = frozenset({"image", "audio", "video", "document", "binary"})


Raw: TypeAlias = Mapping[str, Any]
"""The usage as the provider wrote it."""


def usage_of(response: Response, raw: Raw, provider: str) -> TokenUsage:
    """The tokens of one billed answer of `provider`, in lm15's word for it; none where it told none."""
    told = response.usage
    read, written = told.input_tokens or 0, told.output_tokens or 0
    cached, cache_write = told.cache_read_tokens or 0, _cache_write(told, raw)
    reasoning = told.reasoning_tokens or 0
    if provider in _CACHE_APART:
        read += cached + cache_write
    if provider in _REASONING_APART:
        written += reasoning
    cached = min(cached, read)  # a part is never more than the whole, whatever a gateway says
    return TokenUsage(
        input=read,
        output=written,
        cached=cached,
        reasoning=min(reasoning, written),
        cache_write=min(cache_write, read - cached),
        requests=1,
        largest_input=read,
    )


def unpriced_part(response: Response, raw: Raw, tier: str) -> str:
    """Why prices per token of the service tier `tier` do not tell the cost of this answer; empty when they do."""
    told = response.usage
    if told.input_tokens is None and told.output_tokens is None:
        return "no usage told"
    if told.input_audio_tokens or told.output_audio_tokens:
        return "audio"
    if any(part.type in _MEDIA for part in response.message.parts):
        return "media in the answer"
    if _long_kept(raw):
        return "cache write kept for an hour"
    if isinstance(tools := raw.get("server_tool_use"), Mapping) and any(tools.values()):
        return "tools of the provider"
    served = _served_tier(response, raw)
    return "" if served in ("", tier) else f"service tier {served}"


def raw_usage_of(response: Response) -> Raw:
    """The usage as the provider wrote it, or lm15's reading where the original is not kept."""
    told = response.provider_data or {}
    for key in ("usage", "usageMetadata"):
        if isinstance(told.get(key), Mapping):
            return {name: value for name, value in told[key].items() if value is not None}
    fields = Usage.__dataclass_fields__
    return {name: value for name in fields if (value := getattr(response.usage, name)) is not None}


def _cache_write(told: Usage, raw: Raw) -> int:
    if isinstance(told.cache_write_tokens, int):
        return told.cache_write_tokens
    details = raw.get("prompt_tokens_details")
    written = details.get("cache_creation_tokens") if isinstance(details, Mapping) else None
    return written if isinstance(written, int) and written > 0 else 0


def _long_kept(raw: Raw) -> bool:
    by_lifetime = raw.get("cache_creation")
    return isinstance(by_lifetime, Mapping) and bool(by_lifetime.get("ephemeral_1h_input_tokens"))


def _served_tier(response: Response, raw: Raw) -> str:
    """The service tier that answered; empty where the provider does not tell."""
    data = response.provider_data or {}
    return tier_of(data.get("service_tier") or raw.get("service_tier") or raw.get("serviceTier"))
