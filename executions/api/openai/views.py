"""`/v1/chat/completions` and `/v1/models`: plain async views, since whoever waits must hold no thread.

Right, rate, input, credits, budgets and idempotency are those of POST execute, since the same service answers.
"""

from __future__ import annotations

import time
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from executions.api.openai.answers import whole_reply
from executions.api.openai.requests import MODEL_PREFIX, chat_request_of, model_not_found, program_named
from executions.api.openai.streaming import streamed_reply
from executions.api.openai.turns import named_as_sent, turn_of
from executions.services import process
from executions.services.execute import answer
from mlops.api.bodies import read_body
from mlops.api.streams import RECHECK_S, actor_by_now, actor_of, only, refusing
from mlops.api.threads import give_back_thread
from mlops.encoding import encoded
from mlops.errors import NotFound
from mlops.models import User
from mlops.services.database import off_the_loop
from mlops.strict_json import parse_json
from programs.models import Program
from programs.selectors import access_program

OWNER = "signet"
READING = ("GET", "HEAD")


@refusing
async def chat_completions(request: HttpRequest) -> HttpResponseBase:
    """Execute the program that the body names as its model."""
    began = time.perf_counter()
    if request.method != "POST":
        return only("POST", request.method, request.path)
    here, actor, raw = await process.aensure_started(), await actor_of(request), read_body(request)
    give_back_thread()
    asked = chat_request_of(parse_json(raw))
    key = request.headers.get("Idempotency-Key", "")
    turn = await here.awaited(turn_of(actor, asked, key, began))
    if asked.is_streamed:
        await actor_by_now(request)  # what lasts begins with an answer that is young
        give_back_thread()
        return await streamed_reply(request, turn)
    with named_as_sent(turn.meaning):
        answered = await here.awaited(answer(actor, turn.request))
    if time.perf_counter() - began > RECHECK_S:
        await actor_by_now(request)
    return whole_reply(turn, answered)


@refusing
async def models(request: HttpRequest) -> HttpResponseBase:
    """GET the programs in production that the actor may see."""
    if request.method not in READING:
        return only(", ".join(READING), request.method, request.path)
    actor = await actor_of(request)
    found = await off_the_loop(lambda: _in_production(actor))
    return _json({"object": "list", "data": [_as_model(f"{MODEL_PREFIX}{row.name}", row) for row in found]})


@refusing
async def model(request: HttpRequest, model: str) -> HttpResponseBase:
    """GET the program that a model's id means, if the actor may see it."""
    if request.method not in READING:
        return only(", ".join(READING), request.method, request.path)
    actor = await actor_of(request)
    reference = program_named(model)
    try:
        found = await off_the_loop(lambda: access_program(actor=actor, ref=reference))
    except NotFound:
        raise model_not_found() from None
    return _json(_as_model(model, found))


def _in_production(actor: User) -> list[Program]:
    """One version of each name: the one that the name alone means."""
    rows = Program.objects.visible_to(actor).in_production().order_by("name", "version")
    return list({row.name: row for row in rows.only("name", "version", "created_at")}.values())


def _as_model(identity: str, row: Program) -> dict[str, Any]:
    return {"id": identity, "object": "model", "created": int(row.created_at.timestamp()), "owned_by": OWNER}


def _json(content: dict[str, Any]) -> HttpResponse:
    return HttpResponse(encoded(content), content_type="application/json")
