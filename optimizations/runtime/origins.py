"""Which example a demo came from.

Optimizers build demos anew from what predictors took and gave, and keep no name. So every run of the program notes for
which example it was, and demos are known again by their content.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from optimizations.runtime.memo import hash_of
from optimizations.types import EXAMPLE_MARK
from programs.runtime.checks import as_plain
from programs.types import ProgramSpec

_AUGMENTED = "augmented"
"""DSPy's mark of demos that a run of the program gave."""


class Origins:
    """Examples by what is known of them, once they were taken. Shared by copies of a module."""

    def __init__(self, spec: ProgramSpec, inputs: Sequence[str]) -> None:
        self._inputs = tuple(inputs)
        self._by_content: dict[str, str] = {}
        self._by_inputs: dict[str, str] = {}
        for module in spec.modules:
            for demo in module.prompt.demos if module.prompt else ():
                if EXAMPLE_MARK in demo:
                    self._by_content.setdefault(_content_of(demo), demo[EXAMPLE_MARK])

    def __deepcopy__(self, memo: dict[int, Any]) -> Origins:
        return self

    def taken(self, example: str, data: Mapping[str, Any]) -> None:
        """An optimizer took this example."""
        self._by_content.setdefault(hash_of(data), example)
        self._by_inputs.setdefault(self._key_of_inputs(data), example)

    def note(self, values: Mapping[str, Any], steps: Iterable[tuple[Any, Mapping[str, Any], Any]]) -> None:
        """A run on `values` made these steps: (predictor, inputs, outputs)."""
        example = self._by_inputs.get(self._key_of_inputs(values))
        if example is None:
            return
        for _predictor, taken, given in steps:
            if isinstance(given, Mapping) or hasattr(given, "items"):
                self._by_content.setdefault(hash_of(as_plain({**taken, **dict(given)})), example)

    def marked(self, demo: Mapping[str, Any]) -> dict[str, Any]:
        """`demo` with the id of its example, where that is known."""
        plain = {name: value for name, value in demo.items() if name != EXAMPLE_MARK}
        example = self._by_content.get(_content_of(plain)) or self._by_inputs.get(self._key_of_inputs(plain))
        return plain if example is None else {**plain, EXAMPLE_MARK: example}

    def _key_of_inputs(self, data: Mapping[str, Any]) -> str:
        return hash_of({name: data[name] for name in self._inputs if data.get(name) is not None})


def _content_of(demo: Mapping[str, Any]) -> str:
    return hash_of({name: value for name, value in demo.items() if name not in (_AUGMENTED, EXAMPLE_MARK)})
