"""The thread that Django's ASGI handler keeps for a request: whoever waits gives it back."""

from __future__ import annotations

from asgiref.sync import SyncToAsync
from django.db import connections


def give_back_thread() -> None:
    """End the thread of the running request, and its database connections; what needs one later gets a new one.

    asgiref keeps it from the first synchronous step (a signal of Django's is enough) to the end of the response, which
    for a stream may be hours. Without effect where requests share a thread, as under the test client.
    """
    context = SyncToAsync.thread_sensitive_context.get(None)
    executor = None if context is None else SyncToAsync.context_to_thread_executor.pop(context, None)
    if executor is not None:
        executor.submit(connections.close_all)
        executor.shutdown(wait=False)
