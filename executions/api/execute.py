"""POST execute, whichever front it came through: from headers and bytes to status, headers and bytes."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from django.utils.translation import gettext as _

from executions.representation import in_detail, usd
from executions.services import process
from executions.services.execute import MAX_WAIT_S, Answer, Request, answer
from executions.types import Mode, Source
from mlops.api.authentication import cached_actor, token_unknown
from mlops.api.problems import CONTENT_TYPE, problem_told
from mlops.encoding import encoded
from mlops.errors import Invalid, Problem, Unauthenticated, Unavailable, all_of
from mlops.models import User
from mlops.money import as_decimal
from mlops.strict_json import parse_json
from mlops.types import MICRO_PER_CREDIT

MEMBERS = frozenset({"input", "options"})
OPTIONS = frozenset({"mode", "assignment_key", "language_model"})
_WAIT = re.compile(r"(?:^|[,;\s])wait=(\d{1,6})(?:$|[,;\s])")


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


async def actor_of_token(raw: str | None, younger_than_s: float | None = None) -> User:
    """The owner of a bearer token; of many that ask for one at the same time only the first looks it up."""
    here = process.present()
    if raw is None:
        raise Unauthenticated("not_authenticated", _("Send a bearer token in the Authorization header."))
    if here is None:
        raise Unavailable("starting", _("This process is not ready yet."))
    digest = hashlib.sha256(raw.encode("utf-8", "surrogatepass")).digest()
    actor = await cached_actor(
        raw, lambda look_up: here.once(("token", digest), look_up), younger_than_s=younger_than_s
    )
    if actor is None:
        raise token_unknown()
    return actor


async def reply_to(*, actor: User, reference: str, raw: bytes, headers: Mapping[str, str], began: float) -> Reply:
    """Execute what `raw` asks for and answer it; `headers` by lower-case name, `began` of `time.perf_counter`."""
    request = read_request(reference, raw, headers)
    return _reply(await answer(actor, request), actor, began)


def refusal(error: BaseException) -> Reply:
    """The problem; what nobody foresaw is logged."""
    status, body, headers = problem_told(error)
    return Reply(status, {**headers, "content-type": CONTENT_TYPE}, encoded(body))


def read_request(reference: str, raw: bytes, headers: Mapping[str, str]) -> Request:
    """What body and headers ask for. Raises `Invalid`."""
    return request_of(reference, parse_json(raw), headers)


def request_of(reference: str, body: Any, headers: Mapping[str, str]) -> Request:
    """The body and headers as a request. Raises `Invalid` with every member that is wrong."""
    if not isinstance(body, dict):
        raise Invalid("not_an_object", _('Send an object such as {"input": {...}}.'))
    options = body.get("options", {})
    problems = [*_unknown(body, MEMBERS, ""), *_bad_input(body)]
    problems += _bad_options(options)
    if problems:
        raise all_of(problems, code=problems[0].code, message=problems[0].message)
    return Request(
        program=reference,
        input=body["input"],
        mode=Mode(options.get("mode", Mode.SYNC)),
        source=Source.REST,
        assignment_key=options.get("assignment_key", ""),
        language_model=options.get("language_model", ""),
        idempotency_key=headers.get("idempotency-key", ""),
        wait_s=_wait(headers.get("prefer", "")),
    )


def _unknown(value: Mapping[str, Any], known: frozenset[str], path: str) -> list[Problem]:
    return [
        Problem("unknown_field", _("There is no such field."), f"{path}{name}") for name in value if name not in known
    ]


def _bad_input(body: Mapping[str, Any]) -> list[Problem]:
    if "input" not in body:
        return [Problem("required", _("The program's input is missing."), "input")]
    if not isinstance(body["input"], dict):
        return [Problem("not_an_object", _("The program's input is an object of its fields."), "input")]
    return []


def _bad_options(options: Any) -> list[Problem]:
    if not isinstance(options, dict):
        return [Problem("not_an_object", _("Options are an object."), "options")]
    problems = _unknown(options, OPTIONS, "options.")
    for name in OPTIONS & options.keys():
        if not isinstance(options[name], str):
            problems.append(Problem("not_a_string", _("Expected a string."), f"options.{name}"))
    if isinstance(mode := options.get("mode", "sync"), str) and mode not in list(Mode):
        problems.append(Problem("invalid_choice", _("Expected sync or async."), "options.mode"))
    return problems


def _wait(prefer: str) -> float:
    """Seconds of `Prefer: wait=N` (RFC 7240); without it, as long as a synchronous caller may wait."""
    found = _WAIT.search(prefer)
    return min(float(found.group(1)), MAX_WAIT_S) if found else MAX_WAIT_S


def _reply(answered: Answer, actor: User, began: float) -> Reply:
    execution = answered.execution
    status = 200 if execution.is_terminal else 202
    headers = {"content-type": "application/json", **headers_of(answered, actor, began)}
    return Reply(status, headers, encoded(in_detail(execution)))


def headers_of(answered: Answer, actor: User, began: float) -> dict[str, str]:
    """What the headers of an answer say of its execution."""
    execution = answered.execution
    waited = execution.waited_ms or 0.0
    balance = actor.ml_credits if answered.balance is None else answered.balance
    headers = {
        "location": f"/api/v1/executions/{execution.pk}/",
        "x-execution-id": str(execution.pk),
        "x-cache": "bypass",
        "x-credits-remaining": as_decimal(balance, MICRO_PER_CREDIT),
    }
    if answered.is_repeated:
        headers["idempotent-replayed"] = "true"
    if execution.is_terminal:
        headers["x-cost-usd"] = usd(execution.cost) or "unknown"
        headers["x-overhead-ms"] = f"{max((time.perf_counter() - began) * 1e3 - waited, 0):.3f}"
    return headers
