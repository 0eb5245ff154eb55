"""Why an output could not be scored."""

from __future__ import annotations

CODE = "metric_failed"
"""The error code of an item whose metric failed. It has no score then: an honest gap, not a zero."""


class MetricFailed(Exception):
    """The metric cannot say how good the output is. The message may be shown: no traceback, no secret."""
