"""What may stand in the config of a program and of each kind of module: known keys only, typed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from uuid import UUID

from django.utils.translation import gettext as _
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from mlops.errors import Problem, all_of
from mlops.sanitiser import refuse_unstorable
from programs.runtime.interfaces import DEFAULT_K, DEFAULT_MAX_ITERATIONS, MAX_ITERATIONS, MAX_K
from programs.types import FIELD_NAME_PATTERN, NAME_PATTERN, ModuleKind

OutputName = Annotated[str, Field(pattern=r"^([a-z][a-z0-9_]{0,62}\.)?[a-z][a-z0-9_]{0,62}$")]
FieldName = Annotated[str, Field(pattern=FIELD_NAME_PATTERN)]

Corpus = Annotated[UUID, Field(strict=False)]
Search = Literal["bm25", "vector", "hybrid"]


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Parameters(_Config):
    """What a language model may be asked for; addresses and secrets belong to the language model's own row."""

    temperature: float = Field(0, ge=0, le=2)
    top_p: float = Field(1, gt=0, le=1)
    top_k: int = Field(1, ge=1)
    max_tokens: int = Field(1, ge=1, le=1_000_000)
    presence_penalty: float = Field(0, ge=-2, le=2)
    frequency_penalty: float = Field(0, ge=-2, le=2)
    seed: int = Field(0, ge=0)
    stop: Annotated[list[str], Field(max_length=8)] | str = ""
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high"] = "none"


class DeployGate(_Config):
    """What a version has to be better at than the production one before it replaces it."""

    metric: str = Field(pattern=NAME_PATTERN)
    dataset: Annotated[str, Field(pattern=NAME_PATTERN)] | None = None
    confidence: float = Field(0.95, ge=0.5, lt=1)


class ProgramConfig(_Config):
    adapter: Literal["chat", "json"] = "chat"
    outputs: list[OutputName] = Field([], max_length=100)
    capture: Literal["all", "errors", "none"] = "all"
    deadline_s: float = Field(1, gt=0, le=86_400)
    parameters: Parameters = Parameters()
    deploy_gate: DeployGate | None = None


class PredictConfig(_Config):
    parameters: Parameters = Parameters()


class ProgramTool(_Config):
    program: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,62}@[1-9][0-9]{0,8}$")
    description: str = Field("", max_length=2_000)


class ReactConfig(_Config):
    tools: list[FieldName | ProgramTool] = Field([], max_length=50)
    max_iterations: int = Field(DEFAULT_MAX_ITERATIONS, ge=1, le=MAX_ITERATIONS)
    corpus: Corpus | None = None
    k: int = Field(DEFAULT_K, ge=1, le=MAX_K)
    search: Search = "bm25"
    parameters: Parameters = Parameters()


class RetrieveConfig(_Config):
    corpus: Corpus
    k: int = Field(DEFAULT_K, ge=1, le=MAX_K)
    search: Search = "bm25"
    input: FieldName = "query"
    output: FieldName = "passages"


class CustomConfig(_Config):
    module: FieldName
    arguments: dict[str, Any] = {}


_OF_KIND: dict[ModuleKind, type[_Config]] = {
    ModuleKind.PREDICT: PredictConfig,
    ModuleKind.CHAIN_OF_THOUGHT: PredictConfig,
    ModuleKind.REACT: ReactConfig,
    ModuleKind.RETRIEVE: RetrieveConfig,
    ModuleKind.CUSTOM: CustomConfig,
}


def check_program_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a program, as it may be stored. Raises `Invalid` (`config_invalid`) with every problem."""
    return _checked(ProgramConfig, config, "config")


def check_module_config(kind: ModuleKind, config: Mapping[str, Any], path: str = "config") -> dict[str, Any]:
    """The config of a module of that kind, as it may be stored. Raises `Invalid` (`config_invalid`)."""
    return _checked(_OF_KIND[kind], config, path)


def _checked(model: type[_Config], config: Mapping[str, Any], path: str) -> dict[str, Any]:
    refuse_unstorable(config, path)
    try:
        model.model_validate(config)
    except ValidationError as error:
        problems = [_problem(item, path) for item in error.errors(include_url=False, include_context=False)]
        raise all_of(problems, code="config_invalid", message=_("The config is not valid.")) from None
    return dict(config)


def _problem(error: ErrorDetails, path: str) -> Problem:
    field = ".".join([path, *(str(part) for part in error["loc"])])
    if error["type"] == "extra_forbidden":
        return Problem("unknown_field", _("There is no such setting."), field)
    if error["type"] == "missing":
        return Problem("required", _("This setting is required."), field)
    return Problem("invalid_value", error["msg"], field)
