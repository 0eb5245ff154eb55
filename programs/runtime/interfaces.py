"""What a module takes and gives, and what may be wrong with one module by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mlops.errors import Problem
from mlops.sanitiser import problem_in
from programs.runtime.names import problem_of_name
from programs.runtime.signatures import problems_of_instructions, problems_of_signature
from programs.types import PREDICTING_KINDS, FieldSpec, ModuleKind, ModuleSpec

PARAMETERS = frozenset(
    {
        "frequency_penalty",
        "max_tokens",
        "presence_penalty",
        "reasoning_effort",
        "seed",
        "stop",
        "temperature",
        "top_k",
        "top_p",
    }
)
"""What a module may say to its language model. Anything else could redirect the call or change what is billed."""

DEFAULT_K = 3
DEFAULT_SEARCH = "bm25"
SEARCHES = (DEFAULT_SEARCH, "vector", "hybrid")
"""How passages are found: by their words, by their meaning (the corpus needs vectors), or by both."""

DEFAULT_MAX_ITERATIONS = 8
MAX_K = 100
MAX_ITERATIONS = 50

_CONFIG_KEYS = {
    ModuleKind.PREDICT: {"parameters"},
    ModuleKind.CHAIN_OF_THOUGHT: {"parameters"},
    ModuleKind.REACT: {"parameters", "tools", "max_iterations", "corpus", "k", "search"},
    ModuleKind.RETRIEVE: {"corpus", "k", "search", "input", "output"},
    ModuleKind.CUSTOM: {"module", "arguments"},
}
REASONING = FieldSpec("reasoning", is_input=False, description="How the answer was found.", required=False)


@dataclass(frozen=True, slots=True)
class Interface:
    """The fields of a module. `outputs` has also what its kind adds (`reasoning`), given only when asked for."""

    inputs: tuple[FieldSpec, ...]
    declared_outputs: tuple[FieldSpec, ...]
    added_outputs: tuple[FieldSpec, ...] = ()

    @property
    def outputs(self) -> tuple[FieldSpec, ...]:
        return (*self.added_outputs, *self.declared_outputs)

    def input(self, name: str) -> FieldSpec | None:
        return next((item for item in self.inputs if item.name == name), None)

    def output(self, name: str) -> FieldSpec | None:
        return next((item for item in self.outputs if item.name == name), None)


def interface_of(module: ModuleSpec) -> Interface:
    """The fields of a module that has no problems."""
    if module.kind is ModuleKind.RETRIEVE:
        query, passages = retrieve_names(module)
        return Interface((FieldSpec(query),), (FieldSpec(passages, is_list=True, is_input=False),))
    if module.signature is None:
        return Interface((), ())
    added = (REASONING,) if module.kind is ModuleKind.CHAIN_OF_THOUGHT else ()
    return Interface(module.signature.inputs, module.signature.outputs, added)


def retrieve_names(module: ModuleSpec) -> tuple[str, str]:
    """Names of the input and the output field of a retrieve module."""
    return module.config.get("input", "query"), module.config.get("output", "passages")


def problems_of_module(module: ModuleSpec) -> tuple[Problem, ...]:
    """Everything that is wrong with one module; paths begin inside of it (`config.corpus`, `signature`, `answer`)."""
    problems = _problems_of_signature(module)
    unknown = module.config.keys() - _CONFIG_KEYS[module.kind]
    problems += [_problem("unknown_config", f"{module.kind} has no such setting.", name) for name in sorted(unknown)]
    problems += _problems_of_parameters(module.config.get("parameters", {}))
    if module.kind is ModuleKind.REACT:
        problems += _problems_of_tools(module.config.get("tools", []))
        problems += _problems_of_count(module.config, "max_iterations", MAX_ITERATIONS)
    if module.kind in (ModuleKind.RETRIEVE, ModuleKind.REACT):
        problems += [*_problems_of_corpus(module), *_problems_of_count(module.config, "k", MAX_K)]
        problems += _problems_of_search(module.config)
    if module.kind is ModuleKind.RETRIEVE:
        problems += _problems_of_names(module)
    if module.kind is ModuleKind.CUSTOM:
        problems += _problems_of_custom(module.config)
    return (*problems, *_problems_of_prompt(module))


def _problem(code: str, message: str, name: str) -> Problem:
    return Problem(code, message, f"config.{name}")


def _problems_of_signature(module: ModuleSpec) -> list[Problem]:
    if module.kind is ModuleKind.RETRIEVE:
        return []
    if module.signature is None:
        return [Problem("missing_signature", f"A {module.kind} module needs a signature.", "signature")]
    return list(problems_of_signature(module.signature))


def _problems_of_parameters(parameters: Any) -> list[Problem]:
    if not isinstance(parameters, Mapping):
        return [_problem("bad_config", "Parameters are an object.", "parameters")]
    return [
        _problem("unknown_parameter", f"The parameters are {', '.join(sorted(PARAMETERS))}.", f"parameters.{name}")
        for name in parameters
        if name not in PARAMETERS
    ]


def _problems_of_tools(tools: Any) -> list[Problem]:
    if not isinstance(tools, list | tuple):
        return [_problem("bad_config", "Tools are a list.", "tools")]
    return [
        _problem("bad_config", "A tool is a name or {'program': 'name@version'}.", f"tools.{index}")
        for index, tool in enumerate(tools)
        if not (isinstance(tool, str) and tool) and not _is_program(tool)
    ]


def _is_program(tool: Any) -> bool:
    return (
        isinstance(tool, Mapping)
        and tool.keys() <= {"program", "description"}
        and isinstance(tool.get("program"), str)
        and isinstance(tool.get("description", ""), str)
    )


def _problems_of_count(config: Mapping[str, Any], name: str, most: int) -> list[Problem]:
    value = config.get(name, 1)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        return [_problem("bad_config", f"A whole number from 1 to {most} is expected.", name)]
    return []


def _problems_of_corpus(module: ModuleSpec) -> list[Problem]:
    corpus = module.config.get("corpus")
    if isinstance(corpus, str) and corpus:
        return []
    if corpus is None and module.kind is ModuleKind.REACT:
        return []
    return [_problem("missing_corpus", "The corpus to search is missing.", "corpus")]


def _problems_of_search(config: Mapping[str, Any]) -> list[Problem]:
    if config.get("search", DEFAULT_SEARCH) in SEARCHES:
        return []
    return [_problem("bad_config", f"One of {', '.join(SEARCHES)} is expected.", "search")]


def _problems_of_names(module: ModuleSpec) -> list[Problem]:
    problems = []
    for setting, name in zip(("input", "output"), retrieve_names(module), strict=True):
        problem = problem_of_name(name) if isinstance(name, str) else Problem("bad_field_name", "A name is a text.")
        if problem:
            problems.append(replace(problem, field=f"config.{setting}"))
    return problems


def _problems_of_custom(config: Mapping[str, Any]) -> list[Problem]:
    problems = []
    if not isinstance(config.get("module"), str):
        problems.append(_problem("bad_config", "The name of a registered module is missing.", "module"))
    arguments = config.get("arguments", {})
    if not isinstance(arguments, Mapping) or "signature" in arguments:
        problems.append(_problem("bad_config", "Arguments are an object without 'signature'.", "arguments"))
    return problems


def _problems_of_prompt(module: ModuleSpec) -> list[Problem]:
    if module.prompt is None:
        return []
    if module.kind not in PREDICTING_KINDS:
        return [Problem("unexpected_prompt", f"A {module.kind} module has no prompt.", "prompt")]
    problems = list(problems_of_instructions(module.prompt.instructions, "prompt.instructions"))
    for index, demo in enumerate(module.prompt.demos):
        path = f"prompt.demos.{index}"
        if found := _problem_of_demo(demo, path):
            problems.append(found)
    return problems


def _problem_of_demo(demo: Any, path: str) -> Problem | None:
    if not isinstance(demo, Mapping):
        return Problem("bad_demo", "A demo is an object of fields.", path)
    return problem_in(dict(demo), path)
