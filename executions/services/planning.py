"""From a program reference to everything an execution needs, cached so that the hot path reads no rows.

What a reference points to is believed for `FRESH_S`; a change made in this process is seen at once (`forget`). Built
programs are cached by the digest of their content, so an edited draft is built anew and an unchanged version never.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

from django.conf import settings

from executions.errors import price_of_length_unknown, price_unknown
from executions.services.ports import build_program
from executions.services.reserving import DEFAULT, Expected, estimates_of, past_of
from mlops import selectors as mlops_selectors
from mlops.caching import ShortCache
from mlops.models import LanguageModel
from mlops.services.budgets import Charged
from mlops.services.credits import credits_for
from mlops.types import LanguageModelKind, LanguageModelSpec
from programs import selectors as program_selectors
from programs.models import Program, PromptSet
from programs.runtime.built import BuiltProgram
from programs.services import choose_prompt_set
from programs.types import Capture

FRESH_S = 1.0
MAX_PLANS = 512


@dataclass(frozen=True, slots=True)
class Plan:
    """A program version with its prompt set, built and ready to run on the language models it names."""

    program: Program
    prompt_set: PromptSet
    built: BuiltProgram
    models: Mapping[str, LanguageModelSpec]
    capture: Capture
    deadline_s: float
    max_attempts: int
    requested_model: UUID | None
    used_programs: tuple[Program, ...]
    expected: Expected

    @property
    def has_unknown_price(self) -> bool:
        return any(model.price is None for model in self.models.values())

    def reservation_for(self, input: bytes) -> int:
        """Micro-credits to hold back for an execution with this input, as JSON: what it may need at most."""
        if self.program.credits_per_execution is not None:
            return int(self.program.credits_per_execution)
        return credits_for(self.expected.cost(input))

    def charged(self, user_id: UUID, input: bytes) -> Charged:
        """To which budgets an execution counts, and what it may cost them.

        Where a price is not 0 at least 1 pico-dollar is expected, embeddings included: a budget that is used up
        refuses whatever is not free.
        """
        expected = self.expected.cost_by_model(input)
        specs = {spec.name: spec for model in self.models.values() for spec in (model, *model.fallbacks)}
        least = {name: int(spec.price is not None and not spec.price.is_free) for name, spec in specs.items()}
        by_model = {name: max(expected.get(name, 0), floor) for name, floor in least.items()}
        cost = max(self.expected.cost(input), *least.values(), 0)
        return Charged(user_id, self.program.name, cost, by_model)

    def check_price(self) -> None:
        """Raise `InsufficientCredits` (`price_unknown`) when nobody can say what this will cost."""
        if self.program.credits_per_execution is None and self.has_unknown_price:
            raise price_unknown()

    def check_length(self, input: bytes) -> None:
        """Raise `InsufficientCredits` (`price_unknown`) when the input, as JSON, may make a prompt longer than a price
        holds for."""
        if self.program.credits_per_execution is None and self.expected.is_beyond_prices(input):
            raise price_of_length_unknown()


@dataclass(frozen=True, slots=True)
class Choice:
    """What a reference means now; `only` is its prompt set when there is but one to choose."""

    program: Program
    only: PromptSet | None


PlanKey: TypeAlias = tuple[UUID, UUID, UUID | None]

_choices: ShortCache[str, Choice] = ShortCache(seconds=FRESH_S, size=MAX_PLANS)
_plans: ShortCache[PlanKey, Plan] = ShortCache(seconds=FRESH_S, size=MAX_PLANS)


def forget() -> None:
    """Drop what this process believes; called when a service of this process changed something."""
    _choices.forget()
    _plans.forget()


def cached_plan(reference: str) -> Plan | None:
    """The plan if nothing has to be read for it; a program that weighs several prompt versions always has to."""
    choice = _choices.get(reference)
    if choice is None or choice[0].only is None:
        return None
    found = _plans.get((choice[0].program.pk, choice[0].only.pk, None))
    return found[0] if found else None


def plan(reference: str, assignment_key: str, requested: LanguageModel | None) -> Plan:
    """The plan for a new execution. Reads rows. Raises `NotFound` and `Conflict` as the selectors do."""
    choice = _choices.get_or_load(reference, lambda: _chosen(reference))
    prompt_set = choice.only or choose_prompt_set(choice.program, assignment_key)
    return plan_of(choice.program, prompt_set, requested)


def _chosen(reference: str) -> Choice:
    program = program_selectors.resolve_reference(reference)
    is_weighed = program_selectors.weighs_prompt_versions(program)
    return Choice(program, None if is_weighed else choose_prompt_set(program, ""))


def plan_of(program: Program, prompt_set: PromptSet, requested: LanguageModel | None) -> Plan:
    """The plan for a program version and prompt set that are already chosen."""
    key = (program.pk, prompt_set.pk, None if requested is None else requested.pk)
    return _plans.get_or_load(key, lambda: _planned(program, prompt_set, requested))


def kept_plan(program_id: UUID, prompt_set_id: UUID, requested_model: UUID | None) -> Plan | None:
    """`plan_by_ids` if nothing has to be read for it."""
    found = _plans.get((program_id, prompt_set_id, requested_model))
    return found[0] if found else None


def plan_by_ids(program_id: UUID, prompt_set_id: UUID, requested_model: UUID | None) -> Plan:
    """The plan for an execution that was admitted earlier, perhaps by another process."""
    if found := kept_plan(program_id, prompt_set_id, requested_model):
        return found
    prompt_set = PromptSet.objects.select_related("program").get(pk=prompt_set_id, program_id=program_id)
    requested = None if requested_model is None else mlops_selectors.enabled_language_model(requested_model)
    return plan_of(prompt_set.program, prompt_set, requested)


def _planned(program: Program, prompt_set: PromptSet, requested: LanguageModel | None) -> Plan:
    spec = program_selectors.program_spec(program, prompt_set)
    ready = build_program(spec)
    models = _models(program, requested)
    return Plan(
        program=program,
        prompt_set=prompt_set,
        built=ready,
        models=models,
        capture=Capture(program.config.get("capture", Capture.ALL)),
        deadline_s=float(program.config.get("deadline_s") or settings.SIGNET_DEADLINE_SECONDS),
        max_attempts=3 if ready.repeatable else 1,
        requested_model=None if requested is None else requested.pk,
        used_programs=tuple(program_selectors.sub_programs_of(program)),
        expected=Expected(
            tuple(estimates_of(ready, models)),
            past_of(program.pk, None if requested is None else requested.pk, models),
        ),
    )


def _models(program: Program, requested: LanguageModel | None) -> dict[str, LanguageModelSpec]:
    """Language models by name, and the default one under the empty name; a requested one stands in for all."""
    rows = list(program_selectors.language_models_of(program))
    if requested is not None:
        asked = mlops_selectors.language_model_spec(requested)
        return {DEFAULT: asked, **{row.name: asked for row in rows}}
    specs = {row.name: mlops_selectors.language_model_spec(row) for row in rows}
    chat = [row for row in rows if row.kind == LanguageModelKind.CHAT]
    if not chat:
        return specs
    # Where no row is the default, every module names its own model: the entry has to be there, and nobody asks it.
    default = next((row.name for row in chat if row.is_default), chat[0].name)
    return {**specs, DEFAULT: specs[default]}
