"""What the runtime gets from outside: retrieval, registered tools and modules, programs used as tools."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

from django.conf import settings

from datasets.selectors import search_corpus
from executions.services.database import off_the_loop
from programs.models import Program
from programs.runtime.build import built
from programs.runtime.built import BuiltProgram
from programs.runtime.ports import Ports
from programs.runtime.tools import RegisteredTool, load_custom_modules, load_registered
from programs.selectors import program_spec, resolve_reference
from programs.selectors.tools import tool_references
from programs.services import choose_prompt_set
from programs.types import ProgramSpec

load_registered_once = lru_cache(maxsize=8)(lambda items: load_registered(dict(items)))
load_modules_once = lru_cache(maxsize=8)(lambda items: load_custom_modules(dict(items)))


def registered_tools() -> dict[str, RegisteredTool]:
    """The tools of the settings by name. Raises `NotRegistrable`."""
    return load_registered_once(tuple(settings.SIGNET_TOOLS.items()))


def registered_modules() -> Mapping[str, Any]:
    """The classes of custom modules of the settings by name. Raises `NotRegistrable`."""
    return load_modules_once(tuple(settings.SIGNET_MODULES.items()))


def build_program(spec: ProgramSpec) -> BuiltProgram:
    """`spec`, built with everything it reaches; programs that it uses as tools are built first.

    Reads rows. Raises `Invalid` (`program_invalid`) with every problem.
    """
    references = {reference for module in spec.modules for reference in tool_references(dict(module.config))}
    ports = Ports(
        retrieve=search_corpus,
        aretrieve=search_corpus_off_the_loop,
        tools=registered_tools(),
        custom_modules=registered_modules(),
        programs={reference: build_program(_spec_of(reference)) for reference in sorted(references)},
    )
    return built(spec, ports)


def _spec_of(reference: str) -> ProgramSpec:
    program: Program = resolve_reference(reference)
    return program_spec(program, choose_prompt_set(program, ""))


async def search_corpus_off_the_loop(corpus_id: str, query: str, k: int) -> list[str]:
    return await off_the_loop(partial(search_corpus, corpus_id, query, k))
