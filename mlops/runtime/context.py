"""The one place that sets DSPy's context."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager

import dspy

# DSPy's warnings quote inputs and answers, and its import sets up its logger anew, whatever settings said before.
logging.getLogger("dspy").setLevel(logging.CRITICAL)


def execution_context(lm: dspy.LM, adapter: dspy.Adapter) -> AbstractContextManager[None]:
    """DSPy for one execution: this model and adapter; nothing shared with others, nothing kept, no callbacks.

    `trace` is a fresh list, since the default is one list of the process with everybody's inputs. Never `yield` out of
    this context in an asynchronous generator: it would leak to the reader.
    """
    context: AbstractContextManager[None] = dspy.context(
        lm=lm,
        adapter=adapter,
        callbacks=[],
        trace=[],
        disable_history=True,
        warn_on_type_mismatch=False,
        track_usage=False,
        usage_tracker=None,
    )
    return context
