"""Executions as OpenAI tells chat completions: whole, in chunks, or as an error."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.utils.log import log_response
from django.utils.translation import gettext as _

from executions.api import execute
from executions.api.openai.forms import AnswerForm
from executions.api.openai.requests import MODEL_PREFIX
from executions.api.openai.turns import Turn
from executions.errors import execution_underway
from executions.models import Execution
from executions.services.execute import Answer
from executions.types import ExecutionState
from mlops.api.openai_errors import error_of
from mlops.encoding import encoded
from mlops.types import ModelErrorCode, TokenUsage
from programs.models import Program

ID_PREFIX = "chatcmpl-"
DONE = b"data: [DONE]\n\n"

FAILED = 500
FAILURES: Mapping[str, int] = {
    ModelErrorCode.AUTHENTICATION.value: 502,
    ModelErrorCode.CONTEXT_WINDOW.value: 400,
    ModelErrorCode.INVALID_REQUEST.value: 502,
    ModelErrorCode.PROVIDER_REFUSED.value: 502,
    ModelErrorCode.PROVIDER_UNAVAILABLE.value: 502,
    ModelErrorCode.RATE_LIMITED.value: 503,
    ModelErrorCode.TIMEOUT.value: 504,
    ModelErrorCode.UNKNOWN.value: 502,
    ModelErrorCode.UNPARSABLE_OUTPUT.value: 502,
    "cancelled": 409,
    "right_taken_away": 403,
}
"""Status by the error code of an execution: what the language model behind it did is a bad gateway's, what the client
could do otherwise is a refusal, all else is `FAILED`."""


def whole_reply(turn: Turn, answered: Answer) -> HttpResponse:
    """The completion, or why there is none."""
    execution = answered.execution
    headers = headers_of(turn, answered, execution.pk)
    if is_answered(execution):
        return _json(200, completion(execution, turn.meaning.form), headers)
    # The engine has tried again already, and another request would be another execution.
    response = _json(*failure(execution), {**headers, "x-should-retry": "false"})
    log_response("Execution %s: %s", execution.pk, execution.error_code, response=response, level="warning")
    return response


def _json(status: int, content: Mapping[str, Any], headers: Mapping[str, str]) -> HttpResponse:
    return HttpResponse(encoded(content), status=status, headers=headers, content_type="application/json")


def headers_of(turn: Turn, answered: Answer | str, execution_id: UUID) -> dict[str, str]:
    """As those of POST execute, as far as they are known yet."""
    if isinstance(answered, Answer):
        return execute.headers_of(answered, turn.actor, turn.began)
    return {"location": f"/api/v1/executions/{execution_id}/", "x-execution-id": str(execution_id)}


def completion(execution: Execution, form: AnswerForm) -> dict[str, Any]:
    """A completed execution as a `chat.completion`."""
    message = {"role": "assistant", "content": form.content_of(execution.output or {}), "refusal": None}
    return {
        "id": f"{ID_PREFIX}{execution.pk}",
        "object": "chat.completion",
        "created": int(execution.created_at.timestamp()),
        "model": model_of(execution.program),
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": usage_of(execution),
    }


def model_of(program: Program) -> str:
    """The model that answered: a version, whatever name was asked for."""
    return f"{MODEL_PREFIX}{program.name}@{program.version}"


def usage_of(execution: Execution) -> dict[str, Any]:
    usage = TokenUsage.from_json(execution.token_usage)
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.total,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def failure(execution: Execution) -> tuple[int, dict[str, Any]]:
    """Status and error of an execution that has no output, or none yet."""
    if not execution.is_terminal:
        underway = execution_underway(str(execution.pk))
        return 503, error_of(503, underway.code, underway.message)
    code = execution.error_code or str(execution.state)
    status = FAILURES.get(code, FAILED)
    return status, error_of(status, code, execution.error_message or _("It was cancelled."))


def is_answered(execution: Execution) -> bool:
    return bool(execution.state == ExecutionState.COMPLETED)


class Chunks:
    """Writes one answer as `chat.completion.chunk` events."""

    def __init__(self, execution_id: str, program: Program, *, has_usage: bool) -> None:
        self._head = {
            "id": f"{ID_PREFIX}{execution_id}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model_of(program),
        }
        self._has_usage = has_usage

    def opening(self) -> bytes:
        return self._choice({"role": "assistant", "content": ""})

    def text(self, text: str) -> bytes:
        return self._choice({"content": text})

    def closing(self, execution: Execution) -> Iterator[bytes]:
        """What follows the last text: why it ends, the usage if it was asked for, and the end of all."""
        yield self._choice({}, "stop")
        if self._has_usage:
            yield _event({**self._head, "choices": [], "usage": usage_of(execution)})
        yield DONE

    def failed(self, execution: Execution) -> bytes:
        """An execution that failed after some of its text was told."""
        return self.error(failure(execution)[1])

    def error(self, content: Mapping[str, Any]) -> bytes:
        return _event(content)

    def _choice(self, delta: Mapping[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return _event({**self._head, "choices": [choice], **({"usage": None} if self._has_usage else {})})


def _event(content: Mapping[str, Any]) -> bytes:
    return b"data: %s\n\n" % encoded(content)
