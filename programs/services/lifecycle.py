"""Verbs of the life cycle: submit, deploy, archive, roll back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django_fsm import TransitionNotAllowed

from datasets.models import Corpus
from datasets.services import freeze_corpus
from mlops.errors import Conflict, Invalid
from mlops.models import User
from mlops.sanitiser import refuse_unstorable
from mlops.services.history import save_with_history, saved_or_none
from mlops.services.locking import locked
from mlops.verbs import verb
from programs.errors import program_not_found
from programs.models import Deployment, Module, Program, Signature
from programs.policies import program_policy
from programs.services.checks import locked_versions
from programs.services.validation import refuse_problems
from programs.types import ProgramStatus

LIFE_CYCLE_FIELDS = ["status", "traffic_percentage"]
MAX_REASON = 500

DeployCheck = Callable[[Program, Program | None], None]
ArchiveCheck = Callable[[Program], None]

deploy_checks: list[DeployCheck] = []
archive_checks: list[ArchiveCheck] = []


def before_deploying(check: DeployCheck) -> None:
    """Have `check(program, production)` asked before `deploy_program` puts a version in production, under the locks of
    every version of the name; `production` is the version that would be replaced. It raises `Conflict` to refuse.

    For higher apps, from `AppConfig.ready()`. A roll-back asks nobody: it is the way out when something is wrong.
    """
    deploy_checks.append(check)


def before_archiving(check: ArchiveCheck) -> None:
    """Have `check(program)` asked before `archive_program` archives, under the program's lock; it raises `Conflict` to
    refuse. For higher apps, from `AppConfig.ready()`. A deployment archives the former version without asking.
    """
    archive_checks.append(check)


@verb(program_policy, "submit")
def submit_program(*, actor: User, program: Program) -> Program:
    """draft -> testing: the content is validated and frozen from here on, and its signatures with it.

    Raises `Forbidden`, `NotFound`, `Invalid` (`program_invalid` with every problem) and `Conflict`
    (`program_not_submittable`).
    """
    program_policy.check(actor, "submit", program)
    with transaction.atomic():
        # Signatures before programs, as everywhere, so that no two verbs wait for each other.
        list(_unfrozen_signatures_of(program))
        current = locked(program)
        _transition(current, current.submit, verb="submit")
        refuse_problems(actor=actor, program=current)
        freeze(actor=actor, program=current)
        save_with_history(current, actor=actor, reason="submit", update_fields=LIFE_CYCLE_FIELDS)
    return current


@verb(program_policy, "deploy")
def deploy_program(*, actor: User, program: Program, reason: str = "") -> Program:
    """Make this version the production one; the version that was is archived, in the same transaction.

    Of two at once the later one wins and exactly one is in production. Raises `Forbidden`, `NotFound`, `Invalid`
    (`program_invalid`, `reason_too_long`) and `Conflict` (`program_not_deployable`, and what the checks of
    `before_deploying` say).
    """
    program_policy.check(actor, "deploy", program)
    _check_reason(reason)
    with transaction.atomic():
        versions = locked_versions(program.name)
        return _put_in_production(program, versions, deploy_checks, actor=actor, verb="deploy", reason=reason)


@verb(program_policy, "archive")
def archive_program(*, actor: User, program: Program) -> Program:
    """Take a version out of use.

    Raises `Forbidden`, `NotFound` and `Conflict` (`program_not_archivable`, and what the checks of `before_archiving`
    say).
    """
    program_policy.check(actor, "archive", program)
    with transaction.atomic():
        current = locked(program)
        _transition(current, current.archive, verb="archive")
        for check in archive_checks:
            check(current)
        freeze(actor=actor, program=current)
        save_with_history(current, actor=actor, reason="archive", update_fields=LIFE_CYCLE_FIELDS)
    return current


@verb(program_policy, "roll_back")
def roll_back_program(*, actor: User, program: Program, to: Program | None = None, reason: str = "") -> Program:
    """Put an archived version back in production: `to`, or the one that the last deployment of the name replaced.

    `program` is any version of the name. Returns the version that is in production now. Raises `Forbidden`, `NotFound`,
    `Invalid` (`program_invalid`, `reason_too_long`) and `Conflict` (`program_not_rollbackable`).
    """
    program_policy.check(actor, "roll_back", program)
    _check_reason(reason)
    with transaction.atomic():
        versions = locked_versions(program.name)
        target = to or _replaced_last(program.name)
        if target is None or target.name != program.name:
            raise _not_allowed("roll_back", _("There is no earlier version to go back to."))
        program_policy.check(actor, "roll_back", target)
        if not any(row.pk == target.pk and row.status == ProgramStatus.ARCHIVED for row in versions):
            raise _not_allowed("roll_back", _("Only an archived version can be put back."))
        return _put_in_production(target, versions, (), actor=actor, verb="roll_back", reason=reason)


def freeze(*, actor: User, program: Program) -> None:
    """Freeze the signatures and corpora that `program` uses, from now on for good; called by whoever relies on them."""
    corpora = [config["corpus"] for config in program.modules.values_list("config", flat=True) if config.get("corpus")]
    for corpus in Corpus.objects.filter(pk__in=corpora, frozen_at=None):
        freeze_corpus(actor=actor, corpus=corpus)
    for signature in _unfrozen_signatures_of(program):
        signature.frozen_at = timezone.now()
        save_with_history(signature, actor=actor, reason="freeze", update_fields=["frozen_at"])


def _unfrozen_signatures_of(program: Program) -> QuerySet[Any]:
    used = Module.objects.filter(program=program).values("signature")
    return Signature.objects.filter(pk__in=used, frozen_at=None).order_by("id").select_for_update()


def _put_in_production(
    program: Program, versions: list[Program], checks: Iterable[DeployCheck], *, actor: User, verb: str, reason: str
) -> Program:
    """Under the locks of all `versions` of the name, unless one of `checks` refuses."""
    current = next((row for row in versions if row.pk == program.pk), None)
    if current is None:
        raise program_not_found()
    _transition(current, current.deploy, verb=verb)
    refuse_problems(actor=actor, program=current)
    replaced = [row for row in versions if row.status == ProgramStatus.PRODUCTION and row is not current]
    for check in checks:
        check(current, replaced[-1] if replaced else None)
    freeze(actor=actor, program=current)
    for former in replaced:
        former.archive()
        save_with_history(former, actor=actor, reason="archive", update_fields=LIFE_CYCLE_FIELDS)
    save_with_history(current, actor=actor, reason=verb, update_fields=LIFE_CYCLE_FIELDS)
    Deployment.objects.create(
        program=current,
        replaced=replaced[-1] if replaced else None,
        user=saved_or_none(actor),
        reason=reason,
        is_roll_back=verb == "roll_back",
    )
    return current


def _replaced_last(name: str) -> Program | None:
    last: Deployment | None = (
        Deployment.objects.filter(program__name=name).order_by("-id").select_related("replaced").first()
    )
    return last.replaced if last else None


def _transition(program: Program, move: Callable[[], None], *, verb: str) -> None:
    before = program.status
    try:
        move()
    except TransitionNotAllowed:
        raise _not_allowed(verb, _("A program that is %s does not allow this.") % before) from None


def _not_allowed(verb: str, message: str) -> Conflict:
    codes = {
        "submit": "program_not_submittable",
        "deploy": "program_not_deployable",
        "archive": "program_not_archivable",
        "roll_back": "program_not_rollbackable",
    }
    return Conflict(codes[verb], message, field="status")


def _check_reason(reason: str) -> None:
    refuse_unstorable(reason, "reason")
    if len(reason) > MAX_REASON:
        raise Invalid("reason_too_long", _("At most %d characters are allowed.") % MAX_REASON, field="reason")
