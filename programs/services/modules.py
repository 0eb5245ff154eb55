"""Verbs of modules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict, Unpack

from django.db import transaction
from django.db.models import Max, ProtectedError
from django.utils.translation import gettext as _

from mlops.errors import Conflict, Invalid
from mlops.models import LanguageModel, User
from mlops.services.history import delete_with_history, save_with_history
from mlops.services.locking import locked
from mlops.services.reverting import revertible
from mlops.types import LanguageModelKind
from mlops.verbs import verb
from programs.errors import program_in_use
from programs.models import Module, Program, Signature
from programs.policies import program_policy
from programs.services.checks import check_key, locked_draft, touch
from programs.services.configs import check_module_config
from programs.services.prompts import follow_signature
from programs.types import PREDICTING_KINDS, ModuleKind

LARGEST_POSITION = 32_767


@dataclass(frozen=True, slots=True)
class ModuleInput:
    """What is asked for when a module is added; without a position it comes last."""

    key: str
    kind: str = ModuleKind.PREDICT.value
    signature: Signature | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    position: int | None = None
    language_model: LanguageModel | None = None


class ModuleChanges(TypedDict, total=False):
    """What can be changed of a module."""

    key: str
    kind: str
    signature: Signature | None
    config: Mapping[str, Any]
    position: int
    language_model: LanguageModel | None


@verb(program_policy, "change")
def add_module(*, actor: User, program: Program, module: ModuleInput) -> Module:
    """Add a module to a draft.

    Raises `Forbidden`, `NotFound`, `Invalid` (`name_invalid`, `module_kind_unknown`, `config_invalid`,
    `signature_required`, `language_model_not_chat`) and `Conflict` (`program_frozen`, `module_key_taken`).
    """
    program_policy.check(actor, "change", program)
    with transaction.atomic():
        current = locked_draft(program)
        added = save_new_module(current, module, actor=actor)
        touch(current, actor=actor, reason="add_module")
    return added


@verb(program_policy, "change")
def update_module(*, actor: User, module: Module, **changes: Unpack[ModuleChanges]) -> Module:
    """Change a module of a draft. Raises as `add_module`."""
    program_policy.check(actor, "change", module.program)
    with transaction.atomic():
        current = locked(module)
        program = locked_draft(module.program)
        for name, value in changes.items():
            setattr(current, name, value)
        _check(current)
        save_with_history(current, actor=actor, reason="update")
        follow_signature(current, actor=actor)
        touch(program, actor=actor, reason="update_module")
    return current


@verb(program_policy, "change")
def remove_module(*, actor: User, module: Module) -> None:
    """Remove a module of a draft, its connections and prompt versions with it.

    Raises `Forbidden`, `NotFound` and `Conflict` (`program_frozen`, or `program_in_use` once an
    execution used its prompt).
    """
    program_policy.check(actor, "change", module.program)
    with transaction.atomic():
        current = locked(module)
        program = locked_draft(module.program)
        if current.prompt_versions.filter(prompt_sets__isnull=False).exists():
            _forget_prompt_sets(program)
        delete_with_history([current], actor=actor, reason="remove")
        touch(program, actor=actor, reason="remove_module")


def save_new_module(program: Program, module: ModuleInput, *, actor: User, path: str = "") -> Module:
    """Check and save a module of a program that the caller has locked. `path` leads to it in the caller's words."""
    row = Module(
        program=program,
        key=module.key,
        kind=module.kind,
        signature=module.signature,
        config=module.config,
        position=_next_position(program) if module.position is None else module.position,
        language_model=module.language_model,
    )
    _check(row, path)
    return save_with_history(row, actor=actor, reason="add")


def _check(module: Module, path: str = "") -> None:
    check_key(module.key, f"{path}key")
    if module.kind not in list(ModuleKind):
        raise Invalid("module_kind_unknown", _("There is no such kind of module."), field=f"{path}kind")
    if not 0 <= module.position <= LARGEST_POSITION:
        raise Invalid("position_invalid", _("A position is between 0 and 32767."), field=f"{path}position")
    if module.kind in PREDICTING_KINDS and module.signature is None:
        raise Invalid("signature_required", _("Modules of this kind need a signature."), field=f"{path}signature")
    if module.language_model is not None and module.language_model.kind != LanguageModelKind.CHAT:
        raise Invalid("language_model_not_chat", _("A chat model is needed here."), field=f"{path}language_model")
    module.config = check_module_config(ModuleKind(module.kind), module.config, f"{path}config")
    if Module.objects.filter(program=module.program, key=module.key).exclude(pk=module.pk).exists():
        raise Conflict("module_key_taken", _("The program has a module of this key."), field=f"{path}key")


def _next_position(program: Program) -> int:
    last: int | None = program.modules.aggregate(last=Max("position"))["last"]
    return 0 if last is None else last + 1


def _forget_prompt_sets(program: Program) -> None:
    """Prompt sets that no execution used would name a version that goes away."""
    try:
        program.prompt_sets.all().delete()
    except ProtectedError:
        raise program_in_use() from None


revertible(
    Module,
    ("key", "kind", "signature", "config", "position", "language_model"),
    lambda actor, row, changes: update_module(actor=actor, module=row, **changes),
)
