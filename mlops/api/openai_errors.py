"""Refusals in the form of OpenAI's API, `{"error": {"message", "type", "param", "code"}}`, for clients made for that.

Status and code are those of the problem document that the rest of REST would answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

PREFIX = "/v1/"
"""Below this the API is OpenAI's."""

CONTENT_TYPE = "application/json"
MAX_TOLD = 5
RETRIED = frozenset({429, 503})
"""What is worth another try, unasked: clients of OpenAI also repeat conflicts and all errors from 500 on, and would pay
for each."""

_TYPES = {401: "authentication_error", 402: "insufficient_quota", 403: "permission_error", 429: "rate_limit_error"}


def is_below(path: str) -> bool:
    """Whether the API at `path` is OpenAI's."""
    return f"{path}/".startswith(PREFIX)


def openai_error(problem: Mapping[str, Any]) -> dict[str, Any]:
    """`problem`, a document of RFC 9457, as OpenAI would say it; `param` is the first field that is wrong."""
    fields = [one["field"] for one in problem["errors"] if one["field"]]
    return error_of(problem["status"], problem["code"], _message(problem), fields[0] if fields else None)


def error_of(status: int, code: str, message: str, param: str | None = None) -> dict[str, Any]:
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def retry_headers(status: int) -> dict[str, str]:
    """What tells OpenAI's clients whether to repeat the request by themselves."""
    return {"x-should-retry": "true" if status in RETRIED else "false"}


def _message(problem: Mapping[str, Any]) -> str:
    """All that is wrong in one text, since there is room for nothing else."""
    detail = str(problem["detail"])
    return " ".join([detail, *_told(one for one in problem["errors"] if one["message"] != detail)])


def _told(errors: Iterable[Mapping[str, str]]) -> list[str]:
    lines = [f"{one['field']}: {one['message']}" if one["field"] else one["message"] for one in errors]
    return lines[:MAX_TOLD]
