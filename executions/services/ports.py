"""What the runtime gets from outside: retrieval, registered tools and modules, programs used as tools."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

from django.conf import settings

from datasets.selectors import embedding_spec_of, search_corpus
from datasets.types import Search
from mlops.runtime.embeddings import aembed, embed
from mlops.services.database import off_the_loop
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
        retrieve=search_here,
        aretrieve=search_off_the_loop,
        tools=registered_tools(),
        custom_modules=registered_modules(),
        programs={reference: build_program(_spec_of(reference)) for reference in sorted(references)},
    )
    return built(spec, ports)


def _spec_of(reference: str) -> ProgramSpec:
    program: Program = resolve_reference(reference)
    return program_spec(program, choose_prompt_set(program, ""))


def search_here(corpus_id: str, query: str, k: int, search: str) -> list[str]:
    """The search in a corpus; where it is by meaning, the query's vector is asked for and metered first. Blocks."""
    if search == Search.BM25:
        return search_corpus(corpus_id, query, k)
    vector = embed(embedding_spec_of(corpus_id), [query]).vectors[0]
    return search_corpus(corpus_id, query, k, search, vector)


async def search_off_the_loop(corpus_id: str, query: str, k: int, search: str) -> list[str]:
    """The same on the event loop."""
    if search == Search.BM25:
        return await off_the_loop(partial(search_corpus, corpus_id, query, k))
    spec = await off_the_loop(partial(embedding_spec_of, corpus_id))
    vector = (await aembed(spec, [query])).vectors[0]
    return await off_the_loop(partial(search_corpus, corpus_id, query, k, search, vector))
