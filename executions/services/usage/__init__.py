"""Usage per day: counted in batches after the fact, corrected with what it is about, rebuilt to prove it."""

from executions.services.usage.contributions import Source, add_source
from executions.services.usage.counting import corrected_usage, count_usage
from executions.services.usage.exporting import usage_csv
from executions.services.usage.rebuilding import Difference, Rebuilt, rebuild_usage

__all__ = [
    "Difference",
    "Rebuilt",
    "Source",
    "add_source",
    "corrected_usage",
    "count_usage",
    "rebuild_usage",
    "usage_csv",
]
