"""Errors of model calls, mapped once to the codes that the rest of the house knows.

A message never holds a secret, a prompt, URL credentials or a traceback. What the provider itself says is told only
where people can act on it, for refused requests, or where nothing else says what happened, for errors within a stream,
and not when it quotes the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import dspy
from dspy import lm15
from dspy._vendor.lm15.errors import map_http_error

from mlops.sanitiser import HIDDEN
from mlops.types import LanguageModelSpec, ModelErrorCode, ModelFailure

MAX_MESSAGE = 300
QUOTED = 24
"""A run of this many characters that is also in the prompt counts as quoting it."""

_URL_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")

_HTTP_ERROR = re.compile("[45][0-9][0-9]")

_CODES: tuple[tuple[tuple[type[BaseException], ...], ModelErrorCode], ...] = (
    ((lm15.ContextLengthError, dspy.ContextWindowExceededError), ModelErrorCode.CONTEXT_WINDOW),
    ((lm15.AuthError, dspy.LMAuthError), ModelErrorCode.AUTHENTICATION),
    ((lm15.BillingError, dspy.LMBillingError), ModelErrorCode.AUTHENTICATION),
    ((lm15.NotConfiguredError, dspy.LMNotConfiguredError), ModelErrorCode.AUTHENTICATION),
    ((lm15.RateLimitError, dspy.LMRateLimitError), ModelErrorCode.RATE_LIMITED),
    ((lm15.InvalidRequestError, dspy.LMInvalidRequestError), ModelErrorCode.INVALID_REQUEST),
    ((lm15.ConfigurationError, dspy.LMConfigurationError), ModelErrorCode.INVALID_REQUEST),
    ((lm15.CapabilityError, dspy.LMUnsupportedFeatureError), ModelErrorCode.INVALID_REQUEST),
    ((lm15.LockTimeoutError, dspy.LMLockTimeoutError), ModelErrorCode.PROVIDER_UNAVAILABLE),
    ((lm15.TimeoutError, dspy.LMTimeoutError, TimeoutError), ModelErrorCode.TIMEOUT),
    ((lm15.TransportError, dspy.LMTransportError), ModelErrorCode.PROVIDER_UNAVAILABLE),
    ((lm15.StreamAssemblyError, dspy.LMStreamAssemblyError), ModelErrorCode.PROVIDER_UNAVAILABLE),
    ((lm15.ProviderError, dspy.LMProviderError), ModelErrorCode.PROVIDER_UNAVAILABLE),
    ((dspy.AdapterParseError,), ModelErrorCode.UNPARSABLE_OUTPUT),
)

_RAISED = {
    ModelErrorCode.RATE_LIMITED: lm15.RateLimitError,
    ModelErrorCode.PROVIDER_UNAVAILABLE: lm15.ServerError,
    ModelErrorCode.TIMEOUT: lm15.TimeoutError,
    ModelErrorCode.AUTHENTICATION: lm15.AuthError,
    ModelErrorCode.CONTEXT_WINDOW: lm15.ContextLengthError,
    ModelErrorCode.INVALID_REQUEST: lm15.InvalidRequestError,
}


class ModelRefused(Exception):
    """A language model that cannot be called as it is specified; `failure` says why."""

    def __init__(self, failure: ModelFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class AddressRefused(lm15.ConfigurationError):  # type: ignore[misc]  # lm15 ships no types
    """The provider's address is one that this system does not connect to."""

    def __init__(self) -> None:
        super().__init__("The address of the provider is private, or its port is not one of the web.")


def refused(
    spec: LanguageModelSpec, reason: str, code: ModelErrorCode = ModelErrorCode.INVALID_REQUEST
) -> ModelRefused:
    """The error for a specification that no call can be made with."""
    return ModelRefused(ModelFailure(code, shown(reason, spec.api_key), spec.name))


def failure_of(error: BaseException) -> ModelFailure:
    """Why a program failed, whichever layer the exception comes from. What is no model error is `unknown`."""
    links = list(_chain(error))
    for link in links:
        failure = getattr(link, "failure", None)
        if isinstance(failure, ModelFailure):
            return failure
    known = next((link for link in links if code_of(link) is not ModelErrorCode.UNKNOWN), error)
    code = code_of(known)
    return ModelFailure(code, _message(code, known), getattr(known, "model", None) or "", _wait(known))


def call_failure(
    error: BaseException, spec: LanguageModelSpec, *, prompt: str = "", limit_s: float | None = None
) -> ModelFailure:
    """Why one attempt at `spec` failed. `prompt`: what the message must not quote; `limit_s`: the attempt's limit."""
    code = code_of(error)
    said = shown(str(getattr(error, "message", "")), spec.api_key)
    told = "" if _quotes(said, prompt) else said
    if code is ModelErrorCode.TIMEOUT and limit_s is not None:
        message = f"No answer within {limit_s:.3g} s."
    elif code is ModelErrorCode.INVALID_REQUEST:
        message = _refusal(error, told)
    elif code is ModelErrorCode.PROVIDER_UNAVAILABLE and told and _is_within_stream(error):
        message = f"The provider failed: {told}"
    else:
        message = _message(code, error)
    return ModelFailure(code, message, spec.name, _wait(error))


def code_of(error: BaseException) -> ModelErrorCode:
    kind = _kind(error)
    return next((code for types, code in _CODES if issubclass(kind, types)), ModelErrorCode.UNKNOWN)


def _is_within_stream(error: BaseException) -> bool:
    """Whether the provider told it in an answer that had begun as a success."""
    is_told = isinstance(error, lm15.ProviderError) and getattr(error, "provider_code", None) is not None
    return is_told and getattr(error, "status", None) is None


def _kind(error: BaseException) -> type[BaseException]:
    """Its class. Some providers name an HTTP status as the code of an error within a stream: then the class of that."""
    told = str(getattr(error, "provider_code", ""))
    if type(error) is lm15.ProviderError and _is_within_stream(error) and _HTTP_ERROR.fullmatch(told):
        return type(map_http_error(int(told), ""))
    return type(error)


def raised(failure: ModelFailure) -> lm15.LM15Error:
    """The error that tells DSPy of `failure`; `failure_of` finds it again behind DSPy's own error."""
    error = _RAISED.get(failure.code, lm15.ProviderError)(
        failure.message, provider=failure.model.partition("/")[0], retry_after=failure.retry_after_s
    )
    error.message, error.args = failure.message, (failure.message,)  # without lm15's advice for its own users
    error.model, error.failure = failure.model, failure
    return error


def shown(text: str, secret: str | None) -> str:
    """`text` fit to be shown: one short line without the secret and without credentials in URLs."""
    text = _URL_CREDENTIALS.sub("", text)
    if secret:
        text = text.replace(secret, HIDDEN)
    text = " ".join(text.partition("\n\n")[0].split())
    return text if len(text) <= MAX_MESSAGE else text[:MAX_MESSAGE] + "..."


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes; of a group, its first member's."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.exceptions[0] if isinstance(link, BaseExceptionGroup) else link.__cause__


def _message(code: ModelErrorCode, error: BaseException) -> str:
    status = getattr(error, "status", None)
    http = f" (HTTP {status})" if status else ""
    return _WORDS.get(code, _unknown)(error).replace("{http}", http)


def _rate(error: BaseException) -> str:
    wait = _wait(error)
    return "The provider limits the rate of calls{http}." + (f" It asks to wait {wait:g} s." if wait else "")


def _credentials(error: BaseException) -> str:
    if isinstance(error, lm15.NotConfiguredError | dspy.LMNotConfiguredError):
        return "No secret is set for this model."
    if isinstance(error, lm15.BillingError | dspy.LMBillingError):
        return "The provider refused the account: billing or quota{http}."
    return "The provider refused the credentials{http}."


def _unparsable(error: BaseException) -> str:
    fields = ", ".join(error.signature.output_fields) if isinstance(error, dspy.AdapterParseError) else ""
    return f"The model's answer could not be read as the fields {fields}."


def _unknown(error: BaseException) -> str:
    return f"The call failed for an unknown reason ({type(error).__name__})."


def _trouble(error: BaseException) -> str:
    if isinstance(error, lm15.TransportError | dspy.LMTransportError):
        return "The provider could not be reached, or broke the connection off{http}."
    if 300 <= (getattr(error, "status", None) or 0) < 400:
        return "The provider answered with a redirect, and none is followed{http}."
    if isinstance(error, lm15.ServerError | dspy.LMServerError):
        return "The provider failed{http}."
    return "The provider gave an answer that is not one of its protocol{http}."


def _refusal(error: BaseException, said: str) -> str:
    if said and (isinstance(error, AddressRefused) or getattr(error, "provider", None) == "builtin"):
        return said
    return f"The provider refused the request: {said}" if said else _message(ModelErrorCode.INVALID_REQUEST, error)


def _wait(error: BaseException) -> float | None:
    wait = getattr(error, "retry_after", None)
    return float(wait) if isinstance(wait, int | float) else None


def _quotes(message: str, prompt: str) -> bool:
    if not prompt or not message:
        return False
    if len(prompt) < QUOTED:
        return prompt in message
    return any(message[start : start + QUOTED] in prompt for start in range(len(message) - QUOTED + 1))


_WORDS: dict[ModelErrorCode, Callable[[BaseException], str]] = {
    ModelErrorCode.RATE_LIMITED: _rate,
    ModelErrorCode.PROVIDER_UNAVAILABLE: _trouble,
    ModelErrorCode.TIMEOUT: lambda error: "No answer within the time limit{http}.",
    ModelErrorCode.AUTHENTICATION: _credentials,
    ModelErrorCode.CONTEXT_WINDOW: lambda error: "The prompt is longer than the model's context window.",
    ModelErrorCode.INVALID_REQUEST: lambda error: "The provider refused the request{http}.",
    ModelErrorCode.UNPARSABLE_OUTPUT: _unparsable,
}
