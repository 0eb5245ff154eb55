"""The verbs of executions. `execute_program`, `aexecute_program` and `stream_execution` are also the Python
interface of the product."""

from executions.services.cancel import cancel_execution
from executions.services.collecting import collect_examples
from executions.services.evaluations import (
    cancel_evaluation,
    compare_evaluations,
    estimate_evaluation,
    evaluate_program,
    run_evaluation_here,
)
from executions.services.execute import aexecute_program, execute_program
from executions.services.feedback import rate_execution
from executions.services.leases import sweep
from executions.services.metrics import (
    create_metric,
    delete_metric,
    freeze_metric,
    new_metric_version,
    try_metric,
    update_metric,
)
from executions.services.refund import refund_execution
from executions.services.replay import replay_execution
from executions.services.streaming import stream_execution

__all__ = [
    "aexecute_program",
    "cancel_evaluation",
    "cancel_execution",
    "collect_examples",
    "compare_evaluations",
    "create_metric",
    "delete_metric",
    "estimate_evaluation",
    "evaluate_program",
    "execute_program",
    "freeze_metric",
    "new_metric_version",
    "rate_execution",
    "refund_execution",
    "replay_execution",
    "run_evaluation_here",
    "stream_execution",
    "sweep",
    "try_metric",
    "update_metric",
]
