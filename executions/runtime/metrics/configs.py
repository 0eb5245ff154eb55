"""What may stand in the config of each kind of metric: known keys only, typed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from executions.types import MetricKind
from mlops.errors import Problem
from mlops.sanitiser import problem_in

Path = Annotated[str, Field(pattern=r"^[^.\x00\s]([^\x00]{0,254}[^.\x00\s])?$")]
"""The name of a field, or a path of names into objects: `address.city`."""


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("a finite number is needed")
    return value


Finite = Annotated[float, AfterValidator(_finite)]
Share = Annotated[float, Field(ge=0, le=1), AfterValidator(_finite)]
Tolerance = Annotated[float, Field(ge=0), AfterValidator(_finite)]
Weight = Annotated[float, Field(gt=0, le=1e6), AfterValidator(_finite)]


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class FieldConfig(Config):
    """`field` of the output is compared with `expected` of the example, by default the field of the same name."""

    field: Path
    expected: Path | None = None

    @property
    def expected_field(self) -> str:
        return self.expected or self.field


class AlternativesConfig(FieldConfig):
    """With `any_of` the expected value is a list of accepted answers, and the best of them counts."""

    any_of: bool = False


class NormalisedConfig(AlternativesConfig):
    keep_articles: bool = False


class TokenF1Config(NormalisedConfig):
    threshold: Share | None = None


class ContainsConfig(FieldConfig):
    """The expected value is a text, or a list of texts of which `need` says how many must be there."""

    need: Literal["all", "any"] = "all"
    case_sensitive: bool = False


class NumericConfig(AlternativesConfig):
    absolute: Tolerance = 1e-9
    relative: Tolerance = 1e-9
    decimal_comma: bool = False


class SetF1Config(FieldConfig):
    """`keys` names the members on which items that are objects are compared; `normalise` compares texts as
    `normalised_match` does."""

    keys: Annotated[list[str], Field(max_length=50)] = []
    normalise: bool = False
    threshold: Share | None = None


class FieldRule(Config):
    """One field of `json_field_match`: compared by a kind of its own, weighing `weight`."""

    field: Path
    expected: Path | None = None
    weight: Weight = 1.0
    kind: Literal["exact_match", "normalised_match", "contains", "numeric_equality", "token_f1", "set_f1"] = (
        "exact_match"
    )


class JsonFieldsConfig(Config):
    fields: Annotated[list[FieldRule], Field(min_length=1, max_length=100)]
    threshold: Share | None = None


class SimilarityConfig(FieldConfig):
    threshold: Share | None = None


class JudgeConfig(Config):
    """`inputs` maps the judge's input fields to what they are given: `rubric`, `example`, `output`, `expected`,
    `example.<field>` or `output.<field>`. `prompt_set` pins the judge's prompts; the newest ones are taken if it is
    left out."""

    rubric: Annotated[str, Field(max_length=20_000)] = ""
    field: Path | None = None
    expected: Path | None = None
    inputs: Annotated[dict[str, str], Field(max_length=50)] = {}
    score: str = "score"
    feedback: str | None = None
    scale: Annotated[list[Finite], Field(min_length=2, max_length=2)] = [0.0, 1.0]
    labels: Annotated[dict[str, Share], Field(max_length=100)] = {}
    threshold: Share | None = None
    prompt_set: Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")] | None = None


class CodeConfig(Config):
    function: str = Field(min_length=1, max_length=100)
    arguments: dict[str, Any] = {}


OF_KIND: Mapping[MetricKind, type[Config]] = {
    MetricKind.EXACT_MATCH: AlternativesConfig,
    MetricKind.NORMALISED_MATCH: NormalisedConfig,
    MetricKind.CONTAINS: ContainsConfig,
    MetricKind.NUMERIC_EQUALITY: NumericConfig,
    MetricKind.TOKEN_F1: TokenF1Config,
    MetricKind.SET_F1: SetF1Config,
    MetricKind.JSON_FIELD_MATCH: JsonFieldsConfig,
    MetricKind.SEMANTIC_SIMILARITY: SimilarityConfig,
    MetricKind.JUDGE: JudgeConfig,
    MetricKind.CODE: CodeConfig,
}


def problems_of_config(kind: MetricKind, config: Any) -> tuple[Problem, ...]:
    """Everything that is wrong with a config by itself; field names begin with `config`."""
    if not isinstance(config, Mapping):
        return (Problem("wrong_type", "The config is an object.", "config"),)
    if unstorable := problem_in(dict(config), "config"):
        return (unstorable,)
    try:
        OF_KIND[kind].model_validate(config)
    except ValidationError as error:
        return tuple(map(_problem, error.errors(include_url=False, include_context=False, include_input=False)))
    return tuple(_beyond_types(config)) if kind is MetricKind.JUDGE else ()


def json_schema_of(kind: MetricKind) -> dict[str, Any]:
    """The config of `kind` as JSON Schema, for forms and documentation."""
    return OF_KIND[kind].model_json_schema()


def _beyond_types(config: Mapping[str, Any]) -> list[Problem]:
    low, high = config.get("scale", [0, 1])
    if low >= high:
        return [Problem("invalid_value", "The scale goes from a number to a higher one.", "config.scale")]
    return []


def _problem(error: ErrorDetails) -> Problem:
    path = ".".join(["config", *map(str, error["loc"])])
    if error["type"] == "extra_forbidden":
        return Problem("unknown_field", "There is no such setting.", path)
    if error["type"] == "missing":
        return Problem("required", "This setting is required.", path)
    return Problem("invalid_value", f"{error['msg']}.", path)
