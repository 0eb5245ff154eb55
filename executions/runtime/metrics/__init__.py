"""Metrics: from a metric as a value to a score with feedback, for one example and one output at a time."""

from executions.runtime.metrics.about import ABOUT
from executions.runtime.metrics.baseline import majority_baseline
from executions.runtime.metrics.configs import json_schema_of, problems_of_config
from executions.runtime.metrics.embedding import EmbeddingModel
from executions.runtime.metrics.failures import MetricFailed
from executions.runtime.metrics.judges import JudgeProgram
from executions.runtime.metrics.ports import Embedder, Judge, MetricPorts
from executions.runtime.metrics.registered import RegisteredMetric, load_metrics, metric
from executions.runtime.metrics.scoring import Scorer, problems_of_metric, scorer
from executions.runtime.metrics.values import UNIT, MetricSpec, Range, Score

__all__ = [
    "ABOUT",
    "UNIT",
    "Embedder",
    "EmbeddingModel",
    "Judge",
    "JudgeProgram",
    "MetricFailed",
    "MetricPorts",
    "MetricSpec",
    "Range",
    "RegisteredMetric",
    "Score",
    "Scorer",
    "json_schema_of",
    "load_metrics",
    "majority_baseline",
    "metric",
    "problems_of_config",
    "problems_of_metric",
    "scorer",
]
