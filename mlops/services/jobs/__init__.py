"""How workers take jobs, keep them, and end them exactly once.

The row is the queue and a Celery message only the doorbell: whoever holds a job's lease works on it, and every write
that concerns it is guarded by that lease. A lost worker's jobs are handed back by `sweep` when their lease expires.
"""

from mlops.services.jobs.ending import MAX_IDLE_ATTEMPTS, request_cancel, sweep, when_ended
from mlops.services.jobs.holding import Held
from mlops.services.jobs.stopping import Stopped, StopReason, is_stopping, resume_working, stop_working
from mlops.services.jobs.working import claim, ring, work_on, work_through

__all__ = [
    "MAX_IDLE_ATTEMPTS",
    "Held",
    "StopReason",
    "Stopped",
    "claim",
    "is_stopping",
    "request_cancel",
    "resume_working",
    "ring",
    "stop_working",
    "sweep",
    "when_ended",
    "work_on",
    "work_through",
]
