"""Types of programs and what they consist of."""

from __future__ import annotations

from mlops.graphql.lists import All, Children
from mlops.graphql.records import Listed, Part, Record, Target
from mlops.graphql.scalars import Money
from mlops.types import MICRO_PER_CREDIT
from programs.filters import ModuleFilter, ProgramFilter, SignatureFilter
from programs.models import Module, Program, Signature, SignatureField

TIMES = ("created_at", "updated_at")


class SignatureFieldType(Part):
    """A typed input or output of a signature."""

    class Meta:
        name = "SignatureField"
        model = SignatureField
        fields = ("name", "is_input", "type")


class SignatureType(Record):
    """What a module takes and gives."""

    class Meta:
        name = "Signature"
        model = Signature
        fields = ("id", "name", "version", "frozen_at", *TIMES)
        heavy = ("instructions",)
        listed = Listed(SignatureFilter, orderings=("name",), search=("name", "instructions"))

    fields = All(SignatureFieldType, "fields")


class ModuleType(Record):
    """One step of a program."""

    class Meta:
        name = "Module"
        model = Module
        fields = ("id", "key", "kind", "config", "position", *TIMES)
        listed = Listed(ModuleFilter, search=("key",), order_by=("program_id", "position"))

    program = Target(lambda: ProgramType, required=True)
    signature = Target(SignatureType)


class ProgramType(Record):
    """A version of a named program."""

    class Meta:
        name = "Program"
        model = Program
        fields = ("id", "name", "version", "description", "status", "traffic_percentage", *TIMES)
        heavy = ("config", "metrics")
        listed = Listed(ProgramFilter, orderings=("name",), search=("name", "description"))

    credits_per_execution = Money("credits_per_execution", MICRO_PER_CREDIT)
    modules = Children(ModuleType, "program")
