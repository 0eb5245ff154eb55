"""Programs as the runtime takes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Prefetch, Q, QuerySet

from datasets.models import Corpus
from datasets.types import Search
from mlops.models import LanguageModel
from mlops.types import LanguageModelKind
from programs.models import Module, Program, PromptSet, PromptVersion
from programs.selectors.tools import sub_programs_of
from programs.types import (
    PREDICTING_KINDS,
    AdapterName,
    ConnectionSpec,
    ModuleKind,
    ModuleSpec,
    ProgramSpec,
    PromptSpec,
)


def program_spec(program: Program, prompt_set: PromptSet | None = None) -> ProgramSpec:
    """The program with the prompts of `prompt_set` (without one: with the instructions of its signatures).

    Four queries whatever the number of modules. Parameters of the program's config stand under those of its modules.
    """
    modules = list(
        Module.objects.filter(program=program)
        .select_related("signature", "language_model")
        .prefetch_related("signature__fields")
        .order_by("position", "id")
    )
    keys = {module.pk: module.key for module in modules}
    prompts = _prompts_of(prompt_set)
    connections = program.connections.order_by("id").values_list(
        "from_module_id", "from_field", "to_module_id", "to_field"
    )
    return ProgramSpec(
        id=str(program.pk),
        name=program.name,
        version=program.version,
        modules=tuple(_module_spec(module, program, prompts) for module in modules),
        connections=tuple(
            ConnectionSpec(keys.get(source, ""), from_field, keys.get(target, ""), to_field)
            for source, from_field, target, to_field in connections
        ),
        outputs=tuple(program.config.get("outputs", ())),
        adapter=AdapterName(program.config.get("adapter", AdapterName.CHAT)),
    )


def language_models_of(program: Program) -> QuerySet[LanguageModel]:
    """The language models that an execution of `program` may call: those of its modules and of its tools' modules,
    the default one where a module names none, and the embedding models of corpora that are searched by meaning.
    Fallbacks come prefetched, in order."""
    programs = [program, *sub_programs_of(program)]
    predicting = Module.objects.filter(program__in=programs, kind__in=[*PREDICTING_KINDS, ModuleKind.CUSTOM])
    named = predicting.exclude(language_model=None).values("language_model")
    wanted = Q(pk__in=named)
    if predicting.filter(language_model=None).exists():
        wanted |= Q(is_default=True, kind=LanguageModelKind.CHAT)
    by_meaning = Module.objects.filter(program__in=programs, config__search__in=[Search.VECTOR, Search.HYBRID])
    searched = [config["corpus"] for config in by_meaning.values_list("config", flat=True) if config.get("corpus")]
    if searched:
        wanted |= Q(pk__in=Corpus.objects.filter(pk__in=searched).values("embedding_model"))
    fallbacks = Prefetch("fallback_rows__model")
    models: QuerySet[LanguageModel] = LanguageModel.objects.filter(wanted).prefetch_related(fallbacks)
    return models


def _prompts_of(prompt_set: PromptSet | None) -> dict[Any, PromptSpec]:
    if prompt_set is None:
        return {}
    versions: Iterable[PromptVersion] = prompt_set.versions.all()
    return {version.module_id: version.as_spec() for version in versions}


def _module_spec(module: Module, program: Program, prompts: dict[Any, PromptSpec]) -> ModuleSpec:
    return ModuleSpec(
        key=module.key,
        kind=ModuleKind(module.kind),
        signature=module.signature.as_spec() if module.signature else None,
        config=_effective_config(module, program),
        language_model=module.language_model.name if module.language_model else None,
        prompt=prompts.get(module.pk),
    )


def _effective_config(module: Module, program: Program) -> dict[str, Any]:
    shared = program.config.get("parameters")
    if not shared or module.kind not in PREDICTING_KINDS:
        return dict(module.config)
    return {**module.config, "parameters": {**shared, **module.config.get("parameters", {})}}
