"""What a model can do, as adapters ask it: the operator's word first, then lm15's and DSPy's bundled tables."""

from __future__ import annotations

import os
from functools import cached_property

import dspy
from dspy.clients.model_metadata import model_info

from mlops.runtime.engines.providers import is_native
from mlops.types import LanguageModelSpec

# Otherwise DSPy loads the table of models from the network when it is first asked, on the thread that asks.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "true")

_TOOL_PARAMETERS = frozenset({"tools", "tool_choice", "parallel_tool_calls"})
_PLAIN_PARAMETERS = frozenset({"temperature", "max_tokens", "top_p", "stop", "stream"})


class Capabilities:
    """The hints of one model. Read when first asked: the tables take some milliseconds to load."""

    def __init__(self, spec: LanguageModelSpec) -> None:
        self._spec = spec

    @cached_property
    def tools(self) -> bool:
        told = self._spec.supports_tools
        return self._table[0] if told is None else told

    @cached_property
    def json_schema(self) -> bool:
        told = self._spec.supports_json_schema
        return self._table[1] if told is None else told

    @cached_property
    def reasoning(self) -> bool:
        return self._table[2]

    @cached_property
    def parameters(self) -> frozenset[str]:
        found = self._table[3] | _PLAIN_PARAMETERS
        found = found | _TOOL_PARAMETERS if self.tools else found - _TOOL_PARAMETERS
        return found | {"response_format"} if self.json_schema else found

    @cached_property
    def _table(self) -> tuple[bool, bool, bool, frozenset[str]]:
        if is_native(self._spec):
            asked = dspy.LM(self._spec.name, engine="lm15", cache=False)
            return (
                asked.supports_function_calling,
                asked.supports_response_schema,
                asked.supports_reasoning,
                frozenset(asked.supported_params),
            )
        provider, _, model = self._spec.name.partition("/")
        known = model_info(provider, model)
        return (
            known.get("supports_function_calling") is True,
            known.get("supports_response_schema") is True,
            known.get("supports_reasoning") is True,
            frozenset(),
        )
