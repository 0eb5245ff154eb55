"""Verbs of prompt versions and prompt sets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

from django.db import transaction
from django.db.models import FilteredRelation, Q
from django.utils.translation import gettext as _

from mlops.errors import Conflict, Invalid
from mlops.models import User
from mlops.sanitiser import refuse_unstorable
from mlops.services.history import operator, save_with_history
from mlops.services.locking import locked
from mlops.verbs import verb
from programs.models import Module, Program, PromptSet, PromptVersion
from programs.policies import module_policy, prompt_version_policy
from programs.services.checks import check_text
from programs.services.demos import save_prompt_version
from programs.types import EXAMPLE_MARK, PREDICTING_KINDS, ModuleKind

FIRST_VERSION = "1"
FROM_SIGNATURE = "signature"
"""`source_kind` of versions that hold a signature's own instructions."""

MAX_DEMOS = 2_000
MAX_VERSION = 40
_MARKS_OF_DEMOS = frozenset({"reasoning", "augmented", EXAMPLE_MARK})


@verb(module_policy, "change")
def create_prompt_version(
    *,
    actor: User,
    module: Module,
    prompt_template: str,
    demos: Sequence[Mapping[str, Any]] = (),
    version: str = "",
    source_kind: str = "",
    source_id: UUID | None = None,
) -> PromptVersion:
    """A new prompt version of a module, used by nobody until it is activated; `version` is counted when left out.

    The module's first version is always the signature's own instructions, so that there is something to compare with.
    Raises `Forbidden`, `NotFound`, `Invalid` (`module_has_no_prompt`, `demos_invalid`, `version_invalid`) and
    `Conflict` (`prompt_version_exists`).
    """
    module_policy.check(actor, "change", module)
    check_text(prompt_template, "prompt_template")
    _check_version(version)
    with transaction.atomic():
        current = _locked_predicting(module)
        _check_demos(current, demos)
        _ensure_first_version(current, actor=actor)
        taken = set(current.prompt_versions.values_list("version", flat=True))
        if version in taken:
            raise Conflict("prompt_version_exists", _("The module has a prompt version of this name."), field="version")
        return save_prompt_version(
            PromptVersion(
                module=current,
                version=version or _next_number(taken),
                prompt_template=prompt_template,
                demos=[dict(demo) for demo in demos],
                source_kind=source_kind,
                source_id=source_id,
            ),
            actor=actor,
            reason="create",
        )


@verb(prompt_version_policy, "activate")
def activate_prompt_version(*, actor: User, prompt_version: PromptVersion) -> PromptVersion:
    """Give a prompt version all the traffic of its module. A repeated call changes nothing.

    Raises `Forbidden` and `NotFound`.
    """
    prompt_version_policy.check(actor, "activate", prompt_version)
    with transaction.atomic():
        locked(prompt_version.module)
        others = prompt_version.module.prompt_versions.filter(traffic_percentage__gt=0).exclude(pk=prompt_version.pk)
        for other in others:
            _set_traffic(other, 0, actor=actor, reason="deactivate")
        current = locked(prompt_version)
        if current.traffic_percentage != 100:
            _set_traffic(current, 100, actor=actor, reason="activate")
    return current


@verb(module_policy, "change")
def set_prompt(
    *,
    actor: User,
    module: Module,
    prompt_template: str,
    demos: Sequence[Mapping[str, Any]] = (),
    version: str = "",
) -> PromptVersion:
    """Create a prompt version and activate it, in one step. Raises as `create_prompt_version`."""
    with transaction.atomic():
        created = create_prompt_version(
            actor=actor, module=module, prompt_template=prompt_template, demos=demos, version=version
        )
        return activate_prompt_version(actor=actor, prompt_version=created)


def choose_prompt_set(program: Program, assignment_key: str = "") -> PromptSet:
    """The prompt set for one execution: of each module one active version, drawn in proportion to its traffic.

    The same `assignment_key` gets the same versions as long as the traffic stays; without a key each call draws anew.
    Two queries once the set exists. Modules that have no version yet get their first one. It asks no policy: whoever
    executes the program has been checked.
    """
    active = _active_versions(program)
    if not all(active.values()):
        with transaction.atomic():
            for module in Module.objects.select_for_update().filter(pk__in=active).order_by("id"):
                _ensure_first_version(module, actor=operator())
        active = _active_versions(program)
    key = assignment_key or uuid4().hex
    return ensure_prompt_set(
        program=program, versions=[_drawn(f"{module}:{key}", versions) for module, versions in active.items()]
    )


def ensure_prompt_set(*, program: Program, versions: Iterable[UUID]) -> PromptSet:
    """The prompt set of exactly these prompt versions of the program's modules, made on first use; safe to race."""
    ids = sorted(versions)
    digest = hashlib.sha256("\n".join(str(item) for item in ids).encode()).hexdigest()
    found: PromptSet | None = PromptSet.objects.filter(program=program, digest=digest).first()
    if found is not None:
        return found
    with transaction.atomic():
        prompt_set: PromptSet
        prompt_set, created = PromptSet.objects.get_or_create(program=program, digest=digest)
        if created:
            members = PromptSet.versions.through
            members.objects.bulk_create(members(promptset=prompt_set, promptversion_id=item) for item in ids)
    return prompt_set


def follow_signature(module: Module, *, actor: User) -> None:
    """After a change of the signature: a prompt that is the signature's own instructions follows them.

    The content of a prompt version never changes, so that this makes and activates a new one.
    """
    active = module.prompt_versions.filter(traffic_percentage=100).first()
    if active is None or active.source_kind != FROM_SIGNATURE or module.signature is None:
        return
    if active.prompt_template == module.signature.instructions:
        return
    _set_traffic(active, 0, actor=actor, reason="deactivate")
    taken = set(module.prompt_versions.values_list("version", flat=True))
    _save_from_signature(module, _next_number(taken), actor=actor)


def _active_versions(program: Program) -> dict[UUID, list[tuple[UUID, int]]]:
    """Per predicting module its versions with traffic, oldest first, with their traffic; one query."""
    rows = (
        Module.objects.filter(program=program, kind__in=PREDICTING_KINDS)
        .annotate(
            active=FilteredRelation("prompt_versions", condition=Q(prompt_versions__traffic_percentage__gt=0)),
        )
        .order_by("id", "active__id")
        .values_list("id", "active__id", "active__traffic_percentage")
    )
    active: dict[UUID, list[tuple[UUID, int]]] = {}
    for module, version, traffic in rows:
        active.setdefault(module, []).extend([(version, traffic)] if version else [])
    return active


def _drawn(key: str, versions: Sequence[tuple[UUID, int]]) -> UUID:
    if len(versions) == 1:
        return versions[0][0]
    place = int.from_bytes(hashlib.sha256(key.encode("utf-8", "replace")).digest()[:8]) % sum(
        traffic for _version, traffic in versions
    )
    for version, traffic in versions:
        place -= traffic
        if place < 0:
            return version
    raise AssertionError("the place lies below the sum of the traffic")


def _ensure_first_version(module: Module, *, actor: User) -> None:
    if not module.prompt_versions.exists():
        _save_from_signature(module, FIRST_VERSION, actor=actor)


def _save_from_signature(module: Module, version: str, *, actor: User) -> None:
    signature = module.signature
    save_prompt_version(
        PromptVersion(
            module=module,
            version=version,
            prompt_template=signature.instructions if signature else "",
            traffic_percentage=100,
            source_kind=FROM_SIGNATURE,
            source_id=signature.pk if signature else None,
        ),
        actor=actor,
        reason="create",
    )


def _set_traffic(version: PromptVersion, percentage: int, *, actor: User, reason: str) -> None:
    version.traffic_percentage = percentage
    save_with_history(version, actor=actor, reason=reason, update_fields=["traffic_percentage"])


def _next_number(taken: Iterable[str]) -> str:
    return str(1 + max((int(item) for item in taken if item.isdecimal()), default=0))


def _locked_predicting(module: Module) -> Module:
    current = locked(module)
    if current.kind not in PREDICTING_KINDS:
        raise Invalid("module_has_no_prompt", _("Modules of this kind have no prompt."), field="module")
    return current


def _check_version(version: str) -> None:
    refuse_unstorable(version, "version")
    if len(version) > MAX_VERSION:
        raise Invalid("version_invalid", _("At most %d characters are allowed.") % MAX_VERSION, field="version")


def _check_demos(module: Module, demos: Sequence[Mapping[str, Any]]) -> None:
    refuse_unstorable(list(demos), "demos")
    if len(demos) > MAX_DEMOS:
        raise Invalid("demos_invalid", _("At most %d demos are allowed.") % MAX_DEMOS, field="demos")
    known = _fields_of_demos(module)
    for position, demo in enumerate(demos):
        if not isinstance(demo, Mapping) or not demo:
            raise Invalid("demos_invalid", _("A demo is an object of fields."), field=f"demos.{position}")
        # The steps of a ReAct module stand in fields of its own.
        if module.kind != ModuleKind.REACT and (unknown := demo.keys() - known):
            name = sorted(unknown)[0]
            raise Invalid("demos_invalid", _("The signature has no such field."), field=f"demos.{position}.{name}")


def _fields_of_demos(module: Module) -> set[str]:
    if module.signature is None:
        return set(_MARKS_OF_DEMOS)
    return set(_MARKS_OF_DEMOS).union(module.signature.fields.values_list("name", flat=True))
