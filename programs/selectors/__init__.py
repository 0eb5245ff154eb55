"""Reads of programs that cross models."""

from programs.selectors.references import (
    access_language_model,
    access_program,
    access_signature,
    find_signature,
    resolve_reference,
)
from programs.selectors.specs import language_models_of, program_spec
from programs.selectors.timeline import Event, add_timeline_source, timeline
from programs.selectors.tools import sub_programs_of
from programs.selectors.traffic import weighs_prompt_versions

__all__ = [
    "Event",
    "access_language_model",
    "access_program",
    "access_signature",
    "add_timeline_source",
    "find_signature",
    "language_models_of",
    "program_spec",
    "resolve_reference",
    "sub_programs_of",
    "timeline",
    "weighs_prompt_versions",
]
