"""One request being answered: its inputs in the forms that comparing and copying need."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from functools import cached_property

from mlops.runtime.matcher.features import HashedText
from mlops.runtime.matcher.prompt import Demo, Task, Turn, read_demo, readable

_QUESTION_NAMES = re.compile(r"(^|_)(question|query|q)$")
_MAX_QUESTION_CHARACTERS = 2_000
_MAX_QUOTE = 160
MAX_COMPARED_CHARACTERS = 4_000


def compared_text(inputs: dict[str, str]) -> HashedText:
    """All inputs as one text, short ones first, so that a long context does not crowd out the message."""
    values = sorted((readable(value[: 4 * MAX_COMPARED_CHARACTERS]) for value in inputs.values()), key=len)
    return HashedText("\n".join(value[:MAX_COMPARED_CHARACTERS] for value in values))


def context_and_question(inputs: dict[str, str]) -> tuple[str, str]:
    """The text to copy from and what is asked about it; a single input is a context without a question."""
    values = {name: readable(value) for name, value in inputs.items()}
    if len(values) < 2:
        return next(iter(values.values()), ""), ""
    named = [name for name in values if _QUESTION_NAMES.search(name)]
    asked = named[0] if named else min(values, key=lambda name: len(values[name]))
    context = "\n\n".join(value for name, value in values.items() if name != asked)
    return context, values[asked][:_MAX_QUESTION_CHARACTERS]


class Case:
    """The inputs to answer, the demos they may be compared with, and the draw that the request fixes."""

    def __init__(
        self, task: Task, inputs: dict[str, str], turns: Sequence[Turn], *, temperature: float = 0.0, draw: int = 0
    ) -> None:
        self.task = task
        self.inputs = inputs
        self.temperature = temperature
        self._turns = turns
        self._random = random.Random(draw)  # noqa: S311  # repeatable on purpose

    @cached_property
    def text(self) -> HashedText:
        """The inputs to compare with demos and labels."""
        return compared_text(self.inputs)

    @cached_property
    def context_and_question(self) -> tuple[str, str]:
        """The inputs to copy from."""
        return context_and_question(self.inputs)

    @property
    def asked(self) -> str:
        """The question, or what stands in its place."""
        context, question = self.context_and_question
        return (question or context)[:_MAX_QUESTION_CHARACTERS]

    def demo(self, place: int) -> Demo:
        """A demo of the prompt, read now: nothing of it is kept between requests."""
        return read_demo(self._turns[place], self.task)

    def quote(self, place: int) -> str:
        """The inputs of a demo in one short line."""
        line = " ".join(" / ".join(self.demo(place).inputs.values()).split())
        return repr(line if len(line) <= _MAX_QUOTE else line[: _MAX_QUOTE - 1] + "…")

    def noise(self, count: int, scale: float) -> list[float]:
        """The draw for `count` scores; all zero at temperature 0."""
        if not self.temperature:
            return [0.0] * count
        return [self._random.gauss(0, scale * self.temperature) for _ in range(count)]
