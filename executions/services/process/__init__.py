"""The event loop of a process: runs executions, claims pending ones, keeps their leases, hands back what it cannot end.

Every process that executes has exactly one: the web server's own loop, a thread beside a Celery worker, or a thread
beside a script. Waiting for a model holds neither a thread nor a connection; how many run at once is a figure of ours
(`SIGNET_CONCURRENCY`), not a number of threads.
"""

from executions.services.process.executing import ExecutionProcess
from executions.services.process.here import (
    aensure_started,
    ensure_started,
    forget_budgets,
    present,
    settle_heap,
    start_here,
    stop_here,
    stop_thread,
)

__all__ = [
    "ExecutionProcess",
    "aensure_started",
    "ensure_started",
    "forget_budgets",
    "present",
    "settle_heap",
    "start_here",
    "stop_here",
    "stop_thread",
]
