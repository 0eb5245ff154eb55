"""The one error of the example matcher: a request it cannot answer honestly."""

from __future__ import annotations

from dspy.lm15 import InvalidRequestError


class CannotMatch(InvalidRequestError):  # type: ignore[misc]  # DSPy ships no types
    """The matcher copies and compares text; this request needs more. DSPy turns it into `LMInvalidRequestError`.

    `field` is the output field that cannot be filled, None when the request as a whole is refused.
    """

    def __init__(self, reason: str, *, field: str | None = None) -> None:
        self.field = field
        what = f"fill `{field}`" if field else "answer this request"
        super().__init__(
            f"The example matcher cannot {what}: {reason} It is not a language model; choose one for this.",
            provider="builtin",
        )
