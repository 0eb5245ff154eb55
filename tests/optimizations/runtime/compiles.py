"""Compiles in short words, for tests: a small task, a model that answers everything, a port that remembers."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import dspy
from dspy.lm15 import Request

from mlops.types import LanguageModelSpec
from optimizations.runtime.compiling import run_optimizer
from optimizations.runtime.ports import CompileMetric, CompilePorts
from optimizations.types import (
    Budget,
    CandidateFound,
    CompileProgress,
    CompileResult,
    FinishReason,
    OptimizerName,
)
from programs.runtime.build import build
from programs.runtime.built import BuiltProgram
from programs.runtime.ports import Ports
from tests.fakes import PRICE, fields, scripted
from tests.programs.runtime.specs import module, program

CLASSIFY = program(module("classify", "text -> label", instructions="Say what it is."))
TWO_STEPS = program(
    module("think", "text -> notes", "chain_of_thought"), module("decide", "notes, text -> label"), outputs=("label",)
)

SMALL: dict[OptimizerName, dict[str, Any]] = {
    OptimizerName.LABELED_FEW_SHOT: {"k": 4},
    OptimizerName.BOOTSTRAP_FEW_SHOT: {"max_bootstrapped_demos": 2, "max_labeled_demos": 3},
    OptimizerName.BOOTSTRAP_FEW_SHOT_WITH_RANDOM_SEARCH: {
        "max_bootstrapped_demos": 2,
        "max_labeled_demos": 2,
        "num_candidate_programs": 2,
    },
    OptimizerName.COPRO: {"breadth": 2, "depth": 2},
    OptimizerName.MIPRO_V2: {
        "auto": None,
        "num_candidates": 3,
        "num_trials": 3,
        "max_bootstrapped_demos": 1,
        "max_labeled_demos": 1,
        "minibatch_size": 3,
        "minibatch_full_eval_steps": 2,
    },
    OptimizerName.SIMBA: {"bsize": 4, "num_candidates": 2, "max_steps": 2, "max_demos": 2},
    OptimizerName.GEPA: {"max_metric_calls": 30},
}
"""Every optimizer, small enough to run in a moment."""

ASKING = [name for name in OptimizerName if name is not OptimizerName.LABELED_FEW_SHOT]

SPEC = LanguageModelSpec("m-1", "fake/model", price=PRICE)
_WANTED = re.compile(r"`\[\[ ## (\w+) ## \]\]`")
_WANTED_JSON = re.compile(r"`(\w+)`")
_COLOURS = ("red", "green", "blue")


def examples(count: int, *, first: int = 0) -> list[tuple[str, dict[str, Any]]]:
    """Texts with a number and the label that goes with it."""
    return [
        (f"e-{number}", {"text": f"thing {number}", "label": _COLOURS[number % 3]})
        for number in range(first, first + count)
    ]


def wanted(request: Request) -> list[str]:
    """The fields that a request asks for, by either adapter."""
    text = request.messages[-1].text or ""
    found = _WANTED_JSON.findall(text.rpartition("order of fields:")[2]) if as_json(request) else _WANTED.findall(text)
    return [name for name in dict.fromkeys(found) if name != "completed"]


def as_json(request: Request) -> bool:
    return "order of fields:" in (request.messages[-1].text or "")


def anything(given: dict[str, str], request: Request) -> str:
    """Fills whatever fields are asked for. Labels are right for two texts of three."""
    text = f"{request.system}{[message.text for message in request.messages]}{request.config.temperature}"
    draw = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])
    said: dict[str, Any] = {}
    for name in wanted(request):
        if name == "label":
            number = int(given["text"].split()[-1])
            said[name] = _COLOURS[number % 3] if draw % 3 else "grey"
        elif name == "module_advice":
            said[name] = {"m_classify": f"Mind the number {draw % 100}."}
        else:
            said[name] = f"{name} number {draw % 1000}"
    return json.dumps(said) if as_json(request) else fields(**said)


def exact(data: Mapping[str, Any], output: Mapping[str, Any]) -> tuple[float, str]:
    right = data["label"] == output["label"]
    return float(right), f"Expected {data['label']}, got {output['label']}."


class Killed(BaseException):
    """The worker is gone."""


@dataclass
class World:
    """Ports that remember: the memo, candidates and progress of a job over all of its runs."""

    memo: dict[tuple[str, int], Mapping[str, Any]] = field(default_factory=dict)
    candidates: list[CandidateFound] = field(default_factory=list)
    progress: list[CompileProgress] = field(default_factory=list)
    stop: Callable[[], FinishReason | None] = lambda: None
    before_put: Callable[[], None] = lambda: None
    lock: Any = field(default_factory=threading.Lock)

    def ports(self) -> CompilePorts:
        return CompilePorts(
            memo_get=lambda request_hash, occurrence: self.memo.get((request_hash, occurrence)),
            memo_put=self._put,
            should_stop=lambda: self.stop(),  # noqa: PLW0108  # tests set it later
            on_candidate=self.candidates.append,
            on_progress=self.progress.append,
        )

    def found(self) -> list[tuple[Any, ...]]:
        """The candidates without the time that they took."""
        return [
            (one.number, one.label, one.digest, one.score, one.n, one.scored_on, one.is_partial, one.calls, one.cost)
            for one in self.candidates
        ]

    def _put(self, request_hash: str, occurrence: int, stored: Mapping[str, Any]) -> None:
        self.before_put()
        assert (request_hash, occurrence) not in self.memo
        self.memo[request_hash, occurrence] = stored


def compiled(
    optimizer: OptimizerName,
    *,
    world: World | None = None,
    lm: dspy.LM | None = None,
    built: BuiltProgram | None = None,
    score: Any = exact,
    metric: CompileMetric | None = None,
    **options: Any,
) -> CompileResult:
    """Run an optimizer on the small task."""
    lm = lm or scripted(anything)
    limits = options.pop("limits", Budget())
    arguments: dict[str, Any] = {
        "params": SMALL[optimizer],
        "trainset": examples(8),
        "valset": examples(6, first=8),
        "metric_of": lambda _models: metric or CompileMetric(score),
        "models": {"": SPEC},
        "ports": (world or World()).ports(),
        "language_model_of": lambda spec: lm,
        "limits": limits,
    }
    return run_optimizer(built or build(CLASSIFY, Ports()), optimizer=optimizer, **arguments | options)


def asked(lm: dspy.LM) -> int:
    """How often the model itself was asked."""
    return len(lm.engine.requests)
