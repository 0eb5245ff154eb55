"""Loading the sample workspace: what is there already stays as it is, what is missing is made.

Everything goes through the services, in one transaction: a load that is interrupted leaves nothing half made.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from django.db import transaction

from config.sample import texts
from config.sample.programs import SampleModule, SampleProgram, sample_programs
from datasets import services as datasets
from datasets.models import Corpus, Dataset
from datasets.types import DatasetType
from executions.models import Metric
from executions.services.metrics import create_metric
from executions.types import MetricKind
from mlops.models import LanguageModel, User
from mlops.services.credits import grant_credits
from mlops.services.history import operator
from mlops.services.installation import ensure_default_model
from mlops.services.language_models import create_language_model
from mlops.services.price_imports import import_prices
from mlops.services.users import create_user
from mlops.types import MATCHER_NAME, MICRO_PER_CREDIT, Role
from programs import services as programs
from programs.models import Program, Signature
from programs.selectors import find_signature
from programs.services import ModuleInput
from programs.types import SignatureSpec

MESSAGES = "support_messages"
KNOWLEDGE = "support_knowledge"
INTENT_MATCH = "intent_match"

ADMIN, ENGINEER, USER = "admin", "sample-engineer", "sample-user"
CREDITS = 1_000
"""Whole credits that the sample's engineer and user are given."""

Say = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Credentials:
    """The login of the admin that was just made. The password is nowhere kept in clear."""

    username: str
    password: str


def load_sample(say: Say) -> Credentials | None:
    """Load what is missing of the sample workspace and tell each step to `say`; the admin's login if it was made now.

    Repeating it changes nothing.
    """
    _load_language_models(say)
    with transaction.atomic():
        credentials = _load_people(say)
        _load_datasets(say)
        _load_metric(say)
        _load_programs(say, _load_corpus(say))
    return credentials


def _load_language_models(say: Say) -> None:
    """The default model, chosen outside the transaction since that may ask the network, and the example matcher."""
    had_default = LanguageModel.objects.filter(is_default=True).exists()
    model, reason = ensure_default_model(actor=operator())
    if not had_default:
        say(f"Language model {model}, because {reason}")
    with transaction.atomic():
        matcher = LanguageModel.objects.filter(name=MATCHER_NAME).first()
        if matcher is None:
            matcher = create_language_model(actor=operator(), name=MATCHER_NAME)
            say(f"Language model {matcher}, for comparison")
        if not matcher.prices.exists():
            import_prices(actor=operator(), models=[matcher])


def _load_people(say: Say) -> Credentials | None:
    for username, role in ((ENGINEER, Role.ML_ENGINEER), (USER, Role.ML_USER)):
        user = User.objects.filter(username=username).first()
        if user is None:
            user = create_user(actor=operator(), username=username, role=role.value)
            say(f"User {username} ({role}), {CREDITS} credits; for a token: manage.py create_token {username}")
        _grant_once(user)
    return _load_admin(say)


def _grant_once(user: User) -> None:
    """The key makes the ledger take the grant once, however often the sample is loaded."""
    grant_credits(
        actor=operator(),
        user=user,
        amount=CREDITS * MICRO_PER_CREDIT,
        key=f"sample:{user.pk}",
        note="Credits of the sample workspace",
    )


def _load_admin(say: Say) -> Credentials | None:
    """An installation that has an admin gets no second one."""
    if User.objects.filter(role=Role.ADMIN.value).exists() or User.objects.filter(username=ADMIN).exists():
        return None
    credentials = Credentials(ADMIN, secrets.token_urlsafe(12))
    create_user(actor=operator(), username=credentials.username, password=credentials.password, role=Role.ADMIN.value)
    say(f"User {ADMIN} ({Role.ADMIN})")
    return credentials


def _load_datasets(say: Say) -> None:
    for split in DatasetType:
        if Dataset.objects.latest_version(name=MESSAGES, type=split.value) is not None:
            continue
        dataset = datasets.create_dataset(
            actor=operator(),
            name=MESSAGES,
            type=split,
            examples=[message.as_example() for message in texts.messages(split)],
            description="Messages to the support desk of Velorum, with intent and urgency.",
            source_kind="sample",
        )
        say(f"Dataset {dataset}: {dataset.size} messages")


def _load_metric(say: Say) -> None:
    if Metric.objects.filter(name=INTENT_MATCH).exists():
        return
    metric = create_metric(
        actor=operator(),
        name=INTENT_MATCH,
        kind=MetricKind.EXACT_MATCH,
        config={"field": "intent"},
        description="Whether the intent is the one that a person gave the message.",
    )
    say(f"Metric {metric}: {metric.description}")


def _load_corpus(say: Say) -> Corpus:
    found: Corpus | None = Corpus.objects.latest_version(name=KNOWLEDGE)
    if found is not None:
        return found
    corpus = datasets.create_corpus(
        actor=operator(),
        name=KNOWLEDGE,
        passages=texts.passages(),
        description="What the support desk of Velorum knows about orders, products and the workshop.",
    )
    say(f"Corpus {corpus}: {corpus.size} passages")
    return corpus


def _load_programs(say: Say, corpus: Corpus) -> None:
    for sample in sample_programs(str(corpus.pk)):
        if Program.objects.filter(name=sample.name).exists():
            continue
        program = _load_program(sample)
        say(f"Program {program}: {program.get_status_display().lower()}. {program.description}")
    # Programs name their corpus in their config only, so nothing else keeps it from being deleted.
    datasets.freeze_corpus(actor=operator(), corpus=corpus)


def _load_program(sample: SampleProgram) -> Program:
    program = programs.create_program(
        actor=operator(),
        name=sample.name,
        description=sample.description,
        config=sample.config,
        credits_per_execution=sample.credits_per_execution,
        modules=[_module_input(module) for module in sample.modules],
        connections=sample.connections,
    )
    program = programs.submit_program(actor=operator(), program=program)
    if sample.is_deployed:
        program = programs.deploy_program(actor=operator(), program=program, reason="Sample workspace")
    return program


def _module_input(module: SampleModule) -> ModuleInput:
    signature = None if module.signature is None else _signature(module.signature)
    return ModuleInput(key=module.key, kind=module.kind.value, signature=signature, config=module.config)


def _signature(wanted: SignatureSpec) -> Signature:
    """The newest signature of that name if it is the one that is wanted, else a new one or its next version."""
    found: Signature | None = find_signature(wanted.name).first()
    if found is not None and found.as_spec() == wanted:
        return found
    if found is not None:
        return programs.new_signature_version(
            actor=operator(), signature=found, instructions=wanted.instructions, fields=wanted.fields
        )
    return programs.create_signature(
        actor=operator(), name=wanted.name, instructions=wanted.instructions, fields=wanted.fields
    )
