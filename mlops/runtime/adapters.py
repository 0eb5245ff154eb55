"""DSPy's adapters, with the parts of a prompt that never change written once per signature.

What the model is sent is the same, character for character; golden tests hold it to that.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import dspy
from dspy.adapters.utils import format_field_value

from mlops.runtime.listening import ChatReader, ObjectReader, read_by

NAMES = ("chat", "json")


@functools.cache
def adapter(name: str) -> dspy.Adapter:
    """The one adapter of this name, `chat` or `json`. Raises ValueError for any other."""
    if name == "chat":
        return ChatAdapter()
    if name == "json":
        return JSONAdapter()
    raise ValueError(f"There is no adapter called {name!r}; there are {', '.join(NAMES)}.")


@dataclass(slots=True)
class _Face:
    """What adapters read of a signature again and again; DSPy works it out anew at every look."""

    doc: str | None
    input_fields: dict[str, Any]
    output_fields: dict[str, Any]
    system: str | None = None
    requirements: str | None = None
    formats: dict[tuple[bool, bool], dict[str, Any]] = field(default_factory=dict)


class _WrittenOnce(dspy.ChatAdapter):  # type: ignore[misc]  # DSPy ships no types
    """Keeps a face per signature class for as long as the class lives; changed instructions make a new one."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._faces: WeakKeyDictionary[type[dspy.Signature], _Face] = WeakKeyDictionary()

    def format_system_message(self, signature: type[dspy.Signature]) -> str:
        face = self._face(signature)
        if face.system is None:
            face.system = super().format_system_message(signature)
        return face.system

    def user_message_output_requirements(self, signature: type[dspy.Signature]) -> str:
        face = self._face(signature)
        if face.requirements is None:
            face.requirements = super().user_message_output_requirements(signature)
        return face.requirements

    def format_user_message_content(
        self,
        signature: type[dspy.Signature],
        inputs: dict[str, Any],
        prefix: str = "",
        suffix: str = "",
        main_request: bool = False,
    ) -> str:
        face = self._face(signature)
        parts = [_block(name, info, inputs[name]) for name, info in face.input_fields.items() if name in inputs]
        if main_request:
            parts.append(self.user_message_output_requirements(signature))
        return "\n\n".join([prefix, *parts, suffix]).strip()

    def parse(self, signature: type[dspy.Signature], completion: str) -> dict[str, Any]:
        try:
            fields: dict[str, Any] = super().parse(self._face(signature), completion)
        except dspy.AdapterParseError as error:
            error.signature = signature
            raise
        return fields

    def _face(self, signature: type[dspy.Signature]) -> _Face:
        face = self._faces.get(signature)
        if face is None or face.doc is not signature.__doc__:
            face = _Face(signature.__doc__, signature.input_fields, signature.output_fields)
            self._faces[signature] = face
        return face


class ChatAdapter(_WrittenOnce):
    """Under DSPy's own name, which stream listeners know adapters by."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._fallback: JSONAdapter | None = None

    async def acall(self, *call: Any, **named: Any) -> list[dict[str, Any]]:
        with read_by(ChatReader):
            answers: list[dict[str, Any]] = await super().acall(*call, **named)
        return answers

    def format_assistant_message_content(
        self, signature: type[dspy.Signature], outputs: dict[str, Any], missing_field_message: str | None = None
    ) -> str:
        fields = self._face(signature).output_fields
        blocks = [_block(name, info, outputs.get(name, missing_field_message)) for name, info in fields.items()]
        return "\n\n".join(blocks).strip() + "\n\n[[ ## completed ## ]]\n"

    def _make_json_adapter_fallback(self) -> JSONAdapter:
        """As DSPy's, whose answer nobody could read while it comes."""
        if self._fallback is None:
            self._fallback = JSONAdapter(
                use_native_function_calling=self.use_native_function_calling,
                parallel_tool_calls=self.parallel_tool_calls,
            )
        return self._fallback


class JSONAdapter(_WrittenOnce, dspy.JSONAdapter):  # type: ignore[misc]  # DSPy ships no types
    """Under DSPy's own name, as above. The schema of the answer is built once for what a model supports."""

    async def acall(self, *call: Any, **named: Any) -> list[dict[str, Any]]:
        with read_by(ObjectReader):
            answers: list[dict[str, Any]] = await super().acall(*call, **named)
        return answers

    def _prepare_response_format(self, lm: dspy.LM, lm_kwargs: dict[str, Any], signature: type[dspy.Signature]) -> None:
        supported = ("response_format" in lm.supported_params, bool(lm.supports_response_schema))
        formats = self._face(signature).formats
        if supported not in formats:
            formats[supported] = {}
            super()._prepare_response_format(lm, formats[supported], signature)
        lm_kwargs.update(formats[supported])


def _block(name: str, info: Any, value: Any) -> str:
    """One field; a plain string stands for itself, which is what DSPy finds out through a pydantic adapter."""
    text = value if type(value) is str else format_field_value(field_info=info, value=value)
    return f"[[ ## {name} ## ]]\n{text}"
