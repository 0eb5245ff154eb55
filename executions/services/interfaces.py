"""What an execution of a program takes and gives, for edges that make its input or tell its output in another form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from executions.services import process
from executions.services.execute import Request, allowed_plan
from mlops.models import User
from programs.models import Program
from programs.runtime.built import BuiltProgram
from programs.runtime.checks import OutputCheck
from programs.types import Capture, FieldSpec, FieldType


@dataclass(frozen=True, slots=True)
class Interface:
    """A program version as whoever executes it sees it."""

    program: Program
    inputs: tuple[FieldSpec, ...]
    outputs: tuple[FieldSpec, ...]
    sources: Mapping[str, tuple[str, str]]
    """Of each output the module and the field that it comes from."""
    output_schema: Mapping[str, Any]
    """The output as JSON Schema without references: all of its fields, null where one may be missing."""
    keeps_output: bool

    def text_inputs(self) -> list[FieldSpec]:
        """The inputs that any text may fill."""
        return [field for field in self.inputs if _is_text(field)]

    def source_of_text(self, output: str) -> tuple[str, str] | None:
        """The module and field whose text is that of `output`; None unless it is a text."""
        field = next(field for field in self.outputs if field.name == output)
        return self.sources[output] if _is_text(field) else None


async def interface_of(actor: User, reference: str) -> Interface:
    """What the program takes and gives that `reference` means now, if `actor` may execute it.

    Runs on the process's event loop. Raises as `execute_program` does before it looks at the input.
    """
    here = process.present()
    assert here is not None  # whoever got here went through it
    plan = await allowed_plan(here, actor, Request(reference, {}))
    graph = plan.built.graph
    return Interface(
        program=plan.program,
        inputs=graph.inputs,
        outputs=graph.output_fields,
        sources={output.field.name: (output.source.module, output.source.field) for output in graph.outputs},
        output_schema=_output_schema(plan.built),
        keeps_output=plan.capture is Capture.ALL,
    )


def _is_text(field: FieldSpec) -> bool:
    return field.type is FieldType.STRING and not field.is_list


@lru_cache(maxsize=128)
def _output_schema(built: BuiltProgram) -> Mapping[str, Any]:
    fields = built.graph.output_fields
    schema = OutputCheck(fields).json_schema()
    properties = {
        field.name: schema["properties"][field.name]
        if field.required and not field.has_default
        else {"anyOf": [schema["properties"][field.name], {"type": "null"}]}
        for field in fields
    }
    return {**schema, "properties": properties, "required": list(properties)}
