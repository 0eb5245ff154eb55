"""The llm span of one call: what was asked and answered, what it used and cost, how often it was tried."""

from __future__ import annotations

from dataclasses import replace

from dspy.lm15 import Request, Response

from mlops.runtime.engines.accounts import messages_of, output_of
from mlops.runtime.engines.bills import raw_usage_of, unpriced_part, usage_of
from mlops.runtime.engines.links import Link
from mlops.runtime.engines.patience import Patience
from mlops.runtime.recorder import Recorder, Span, current_recorder, span
from mlops.types import ModelFailure, SpanKind


class CallRecord:
    """Notes of one call, made in the recorder of the running execution."""

    def __init__(self, opened: Span, request: Request) -> None:
        self._recorder = current_recorder() or Recorder()
        self._span = opened
        self._recorder.keep(opened, "messages", messages_of(request))
        if request.tools:
            opened.attributes["tools"] = [tool.name for tool in request.tools]

    def answered(self, link: Link, response: Response) -> None:
        """An answer has come: its text, usage and cost."""
        self._recorder.keep(self._span, "output", output_of(response.message))
        if response.model not in (link.spec.name, link.spec.name.partition("/")[2]):
            self._span.attributes["response_model"] = response.model
        if response.finish_reason != "stop":
            self._span.attributes["finish_reason"] = response.finish_reason
        self._span.error = ""
        self.billed(link, response)

    def broke_off(self, link: Link, received: Response) -> None:
        """An answer has come in part. Hardly any provider tells before the end what it used: its cost is unknown."""
        self._recorder.keep(self._span, "output", output_of(received.message))
        self.billed(link, received)

    def billed(self, link: Link, response: Response) -> None:
        """Count what an answer used, broken off or whole. What tokens do not tell makes the cost unknown."""
        raw = raw_usage_of(response)
        usage = usage_of(response, raw, link.provider)
        if reason := unpriced_part(response, raw, link.tier):
            usage = replace(usage, unpriced=1)
            self._span.attributes["unpriced"] = reason
        cost = self._recorder.meter(link.spec.name, usage, link.spec.price)
        if self._span.usage is None:
            self._span.usage, self._span.cost = usage, cost
        else:
            self._span.usage += usage
            self._span.cost = None if cost is None or self._span.cost is None else self._span.cost + cost
        self._span.raw_usage = raw
        self._beware(link, response)
        self._recorder.models[link.spec.name] = link.described

    def _beware(self, link: Link, response: Response) -> None:
        """A gateway may put the request's headers into its answer."""
        secret = link.spec.api_key
        if secret and secret in f"{output_of(response.message)}{response.model}{self._span.raw_usage}":
            self._recorder.repeated_secrets.add(secret)

    def failed(self, failure: ModelFailure) -> None:
        """One attempt has failed; others may follow."""
        attempts = self._span.attributes.setdefault("attempts", [])
        attempts.append({"model": failure.model, "code": failure.code.value, "message": failure.message})
        self._span.error = f"{failure.code.value}: {failure.message}"

    def ended(self, link: Link, patience: Patience) -> None:
        """No further attempt will be made."""
        self._span.model = link.spec.name
        self._span.retries, self._span.fallback = patience.retries, patience.fallback
        self._recorder.models.setdefault(link.spec.name, link.described)

    def closed(self, error: str = "") -> None:
        """The last event of a stream has been taken, or its reader has left."""
        self._span.error = self._span.error or error
        self._span.duration_ms = self._recorder.now_ms() - self._span.start_ms

    def waited(self, seconds: float) -> None:
        """Time that was the provider's, not ours."""
        self._recorder.waited_s += seconds


def begun(model: str, request: Request) -> CallRecord:
    """The record of a stream. Its span is open for nobody: between two events the context is the reader's own."""
    with span(SpanKind.LLM, model) as opened:
        pass
    return CallRecord(opened, request)
