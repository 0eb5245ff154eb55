"""No run is started twice.

Where few runs are left and one takes more than two minutes, DSPy starts it again beside the first and takes what comes
first; both are paid for. It offers no way to turn that off.
"""

from __future__ import annotations

from typing import Any

import dspy.evaluate.evaluate
import dspy.predict.parallel
from dspy.utils.parallelizer import ParallelExecutor


class PatientExecutor(ParallelExecutor):  # type: ignore[misc]  # DSPy ships no types
    """DSPy's executor, which waits. How long a call may take, the engines say."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.timeout = 0


def wait_for_stragglers() -> None:
    """From now on evaluations and parallel runs of this process wait. Nothing else here uses DSPy's executor."""
    dspy.evaluate.evaluate.ParallelExecutor = PatientExecutor
    dspy.predict.parallel.ParallelExecutor = PatientExecutor
