"""The example matcher, the default model of a fresh installation: no language model, it copies and compares text."""

from mlops.runtime.matcher.engine import DISCLAIMER, MODEL, AsyncExampleMatcher, ExampleMatcher
from mlops.runtime.matcher.errors import CannotMatch

__all__ = ["DISCLAIMER", "MODEL", "AsyncExampleMatcher", "CannotMatch", "ExampleMatcher"]
