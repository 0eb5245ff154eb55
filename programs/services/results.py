"""What an optimization found becomes a version of the program that people can look at, submit and deploy."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from django.db import transaction

from mlops.models import User
from mlops.verbs import verb
from programs.models import Module, Program, PromptVersion
from programs.policies import program_policy
from programs.services.programs import new_version
from programs.services.prompts import activate_prompt_version, create_prompt_version
from programs.types import PromptSpec


@verb(program_policy, "new_version")
def create_result_version(
    *, actor: User, program: Program, prompts: Mapping[str, PromptSpec], source_kind: str, source_id: UUID
) -> Program:
    """The next version of `program`, in draft, with these prompts (by key of module) active. `source` is where they
    come from. A module whose prompt stays as it was keeps its prompt version.

    Raises what `new_version` and `create_prompt_version` raise.
    """
    with transaction.atomic():
        created = new_version(actor=actor, program=program)
        for module in created.modules.filter(key__in=prompts).order_by("position", "id"):
            if _active_prompt(module) != prompts[module.key]:
                _set(actor, module, prompts[module.key], source_kind, source_id)
    return created


def _set(actor: User, module: Module, prompt: PromptSpec, source_kind: str, source_id: UUID) -> None:
    version = create_prompt_version(
        actor=actor,
        module=module,
        prompt_template=prompt.instructions,
        demos=prompt.demos,
        source_kind=source_kind,
        source_id=source_id,
    )
    activate_prompt_version(actor=actor, prompt_version=version)


def _active_prompt(module: Module) -> PromptSpec | None:
    active: PromptVersion | None = module.prompt_versions.filter(traffic_percentage=100).first()
    return None if active is None else active.as_spec()
