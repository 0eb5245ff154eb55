"""The verbs of executions. `execute_program` and `aexecute_program` are also the Python interface of the product."""

from executions.services.cancel import cancel_execution
from executions.services.execute import aexecute_program, execute_program
from executions.services.feedback import rate_execution
from executions.services.leases import sweep
from executions.services.replay import replay_execution

__all__ = [
    "aexecute_program",
    "cancel_execution",
    "execute_program",
    "rate_execution",
    "replay_execution",
    "sweep",
]
