"""The providers whose models may be called: those of which it is known where their calls go and what key they carry.

LiteLLM has more than these. Some of its providers have HTTP clients of their own, which connect to whatever a name
resolves to and follow redirects; some take the credentials of this machine where a row has none, and ask the metadata
of a cloud for them. What is listed here goes through the guarded clients only (`engines.litellm_clients`), with the
key of its row: tests/mlops/runtime/test_provider_list.py calls every one of them.
"""

from __future__ import annotations

BUILTIN = "builtin"
NATIVE = frozenset(
    {
        *("anthropic", "azure", "deepseek", "gemini", "groq", "hosted_vllm", "moonshot", "ollama", "ollama_chat"),
        *("openai", "openrouter", "xai"),
    }
)
"""lm15 speaks to them itself; LiteLLM is asked for their vectors where lm15 has none."""

THROUGH_LITELLM = frozenset(
    {
        *("abliteration", "ai21", "ai21_chat", "aihubmix", "aiml", "apertis", "assemblyai", "baseten", "cerebras"),
        *("charity_engine", "chutes", "codestral", "cognition", "cohere", "cohere_chat", "cometapi", "compactifai"),
        *("cortecs", "crusoe", "custom_openai", "darkbloom", "dashscope", "deepinfra", "docker_model_runner", "edenai"),
        *("empiriolabs", "empower", "featherless_ai", "fireworks_ai", "friendliai", "galadriel", "github", "gmi"),
        *("helicone", "hyperbolic", "inception", "infinity", "jina_ai", "lambda_ai", "libertai"),
        *("litellm_proxy", "llamafile", "llamagate", "lm_studio", "meta", "meta_llama", "minimax", "mistral"),
        *("modelscope", "morph", "nadir", "nano-gpt", "nebius", "neosantara", "novita", "nscale", "nvidia_nim"),
        *("openai_like", "ovhcloud", "parasail", "perplexity", "pinstripes", "poe", "prism", "publicai"),
        *("qwen_ai_platform", "qwencloud", "reka", "sail", "sambanova", "sarvam", "scaleway", "scx-ai", "synthetic"),
        *("tencent", "tensormesh", "together_ai", "v0", "veniceai", "vercel_ai_gateway", "volcengine", "voyage"),
        *("wandb", "xiaomi_mimo", "xinference", "zai"),
    }
)
"""What LiteLLM is asked for."""

DIVERTED = ("ft:babbage-002", "ft:davinci-002")
"""Where a name holds one of these, LiteLLM asks with another client, whichever provider the name begins with."""


def is_offered(name: str) -> bool:
    """Whether the model `name`, as in provider/model, may be called."""
    provider = name.partition("/")[0]
    if provider in THROUGH_LITELLM:
        return not any(part in name for part in DIVERTED)
    return provider in NATIVE or provider == BUILTIN
