"""Everything that is wrong with a program, said at once."""

from __future__ import annotations

from collections.abc import Iterator

from django.utils.translation import gettext as _

from datasets.models import Corpus
from datasets.types import Search
from mlops.errors import Problem, all_of
from mlops.models import LanguageModel, User
from mlops.types import LanguageModelKind
from mlops.verbs import verb
from programs.models import Module, Program
from programs.policies import program_policy
from programs.selectors.tools import ToolTree, tool_tree
from programs.services.building import problems_of_building
from programs.types import PREDICTING_KINDS, ProgramStatus


@verb(program_policy, "validate")
def validate_program(*, actor: User, program: Program) -> list[Problem]:
    """Build the program and report every problem; empty when it can be submitted. Changes nothing.

    Paths begin with `modules.<key>`, `connections.<position>` or `outputs.<position>`. Raises `Forbidden` and
    `NotFound`.
    """
    program_policy.check(actor, "validate", program)
    modules = list(program.modules.select_related("language_model").order_by("position", "id"))
    tree = tool_tree(program)
    of_rows = [
        *_problems_of_corpora(modules, actor),
        *_problems_of_language_models(modules),
        *_problems_of_tools(tree, modules, actor),
    ]
    said = {problem.field for problem in of_rows}
    return [*(problem for problem in problems_of_building(tree) if problem.field not in said), *of_rows]


def refuse_problems(*, actor: User, program: Program) -> None:
    """Raise `Invalid` (`program_invalid`) with every problem of the program."""
    if problems := validate_program(actor=actor, program=program):
        raise all_of(problems, code="program_invalid", message=_("The program is not valid."))


def _problems_of_corpora(modules: list[Module], actor: User) -> Iterator[Problem]:
    wanted = [module for module in modules if module.config.get("corpus")]
    ids = [module.config["corpus"] for module in wanted]
    rows = Corpus.objects.visible_to(actor).ready().filter(pk__in=ids).select_related("embedding_model")
    known = {str(corpus.pk): corpus for corpus in rows}
    for module in wanted:
        corpus = known.get(module.config["corpus"])
        if corpus is None:
            yield Problem("unknown_corpus", _("There is no such corpus."), _path(module, "config.corpus"))
        elif module.config.get("search", Search.BM25) != Search.BM25:
            yield from _problems_of_vectors(corpus, _path(module, "config.search"))


def _problems_of_vectors(corpus: Corpus, path: str) -> Iterator[Problem]:
    if corpus.embedding_model is None:
        yield Problem(
            "corpus_without_vectors",
            _("The corpus has no vectors: import it with an embedding model, or search it by bm25."),
            path,
        )
    elif not corpus.embedding_model.is_enabled:
        yield Problem("language_model_disabled", _("The embedding model of the corpus is not enabled."), path)


def _problems_of_language_models(modules: list[Module]) -> Iterator[Problem]:
    predicting = [module for module in modules if module.kind in PREDICTING_KINDS]
    for module in predicting:
        if module.language_model is not None and not module.language_model.is_enabled:
            message = _("The language model is not enabled.")
            yield Problem("language_model_disabled", message, _path(module, "language_model"))
    without = [module for module in predicting if module.language_model is None]
    if without and not _has_default_language_model():
        message = _("The module names no language model, and there is no default one.")
        yield Problem("no_default_language_model", message, _path(without[0], "language_model"))


def _has_default_language_model() -> bool:
    return LanguageModel.objects.enabled().filter(is_default=True, kind=LanguageModelKind.CHAT).exists()


def _problems_of_tools(tree: ToolTree, modules: list[Module], actor: User) -> Iterator[Problem]:
    """What building cannot know: who may use the program, and whether it stays as it is."""
    for module in modules:
        for position, tool in enumerate(module.config.get("tools", ())):
            if isinstance(tool, dict):
                yield from _problems_of_tool(tree, tool["program"], actor, _path(module, f"config.tools.{position}"))


def _problems_of_tool(tree: ToolTree, reference: str, actor: User, path: str) -> Iterator[Problem]:
    tool = tree.programs.get(reference)
    if tool is None or not program_policy.can(actor, "execute", tool):
        yield Problem("unknown_program", _("There is no such program."), path)
    elif tree.leads_back(reference):
        yield Problem("tool_cycle", _("Programs use each other as tools in a circle."), path)
    elif tool.status == ProgramStatus.DRAFT:
        # Its content would change under the version that pins it.
        yield Problem("tool_program_draft", _("A program in draft cannot be a tool: submit it first."), path)


def _path(module: Module, inner: str) -> str:
    return f"modules.{module.key}.{inner}"
