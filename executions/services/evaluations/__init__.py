"""Program versions scored on dataset versions.

An evaluation is cut into shards, which are rows; workers take them, each as one stream of examples, and store an item
per example. Whatever their number, the scores are the same.
"""

from executions.services.evaluations.cancelling import cancel_evaluation
from executions.services.evaluations.comparing import EvaluationComparison, compare_evaluations
from executions.services.evaluations.estimating import EvaluationEstimate, Interval, estimate_evaluation
from executions.services.evaluations.starting import evaluate_program
from executions.services.evaluations.working import run_evaluation_here, sweep_evaluations, wake

__all__ = [
    "EvaluationComparison",
    "EvaluationEstimate",
    "Interval",
    "cancel_evaluation",
    "compare_evaluations",
    "estimate_evaluation",
    "evaluate_program",
    "run_evaluation_here",
    "sweep_evaluations",
    "wake",
]
