"""Learned state: instructions and demos of predictors, as prompt versions hold them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dspy

from programs.runtime.agents import Agent
from programs.runtime.checks import as_plain
from programs.runtime.modules import ProgramModule
from programs.types import EXAMPLE_MARK, PREDICTING_KINDS, ProgramSpec, PromptSpec


def learn(child: dspy.Module, prompt: PromptSpec) -> None:
    """Give a predicting module its demos and, where they are not empty, its instructions.

    An agent's instructions always end with DSPy's rules for agents; a prompt that lost them gets them again.
    """
    predictor = _predictor(child)
    predictor.demos = [{name: value for name, value in demo.items() if name != EXAMPLE_MARK} for demo in prompt.demos]
    if prompt.instructions:
        rules = _rules(child)
        instructions = prompt.instructions.removesuffix(rules) + rules
        predictor.signature = predictor.signature.with_instructions(instructions)


def apply_prompts(module: ProgramModule, prompts: Mapping[str, PromptSpec]) -> None:
    """`learn` for each module named by its key. Only for a copy that nobody else runs."""
    for key, prompt in prompts.items():
        learn(module.child(key), prompt)


def prompts_of(spec: ProgramSpec, module: ProgramModule) -> dict[str, PromptSpec]:
    """The learned state of a (compiled) copy of a program's module, as JSON values per predicting module."""
    return {item.key: _prompt_of(module.child(item.key)) for item in spec.modules if item.kind in PREDICTING_KINDS}


def _prompt_of(child: dspy.Module) -> PromptSpec:
    predictor = _predictor(child)
    demos: list[dict[str, Any]] = [as_plain(dict(demo)) for demo in predictor.demos]
    return PromptSpec(predictor.signature.instructions.removesuffix(_rules(child)), tuple(demos))


def _predictor(child: dspy.Module) -> Any:
    """The one predictor of a predicting module."""
    return child.predictors()[0]


def _rules(child: dspy.Module) -> str:
    return child.rules if isinstance(child, Agent) else ""
