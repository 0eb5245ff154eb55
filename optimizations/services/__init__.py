"""The verbs of optimizations: the only code that writes their rows."""

from optimizations.services.cancelling import cancel_optimization
from optimizations.services.estimates import OptimizationEstimate
from optimizations.services.results import adopt_candidate
from optimizations.services.starting import compile_program, estimate_optimization

__all__ = [
    "OptimizationEstimate",
    "adopt_candidate",
    "cancel_optimization",
    "compile_program",
    "estimate_optimization",
]
