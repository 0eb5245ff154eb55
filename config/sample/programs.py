"""What the programs of the sample workspace consist of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from programs.types import ConnectionSpec, FieldSpec, FieldType, ModuleKind, SignatureSpec

TRIAGE = "triage"
ANSWER = "answer_with_sources"
ASSISTANT = "assistant"

INTENTS = (
    "order_status",
    "delivery_problem",
    "return_request",
    "refund_status",
    "payment_problem",
    "invoice_request",
    "account_access",
    "product_question",
    "warranty_claim",
    "workshop_booking",
    "complaint",
)

URGENCIES = ("low", "normal", "high")

CHARGE = 100_000
"""Micro-credits for one execution: a tenth of a credit, the same whichever language model answers."""


@dataclass(frozen=True, slots=True)
class SampleModule:
    """One step; one without a signature asks no language model."""

    key: str
    kind: ModuleKind
    signature: SignatureSpec | None = None
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SampleProgram:
    """A program; `is_deployed` says whether it goes on from testing to production."""

    name: str
    description: str
    modules: tuple[SampleModule, ...]
    connections: tuple[ConnectionSpec, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    credits_per_execution: int | None = None
    is_deployed: bool = True


def sample_programs(corpus: str) -> tuple[SampleProgram, ...]:
    """The three programs; `corpus` is the id of the knowledge base that they search."""
    return _triage(), _answer_with_sources(corpus), _assistant(corpus)


def _triage() -> SampleProgram:
    """As a first version is written: short, and without a single demo. What it lacks is for an optimizer to find."""
    signature = SignatureSpec(
        TRIAGE,
        "Read one message of a customer of Velorum, a shop and workshop for bicycle parts. "
        "Say what the customer wants and how soon somebody has to act.",
        (
            FieldSpec("message", description="What the customer wrote."),
            _choice("intent", INTENTS, "What the customer wants."),
            _choice("urgency", URGENCIES, "How soon somebody has to act."),
        ),
    )
    return SampleProgram(
        TRIAGE,
        "Says what a message to the support desk is about and how urgent it is.",
        (SampleModule("classify", ModuleKind.PREDICT, signature),),
        credits_per_execution=CHARGE,
    )


def _answer_with_sources(corpus: str) -> SampleProgram:
    signature = SignatureSpec(
        ANSWER,
        "Answer the customer's question from the passages, briefly. Say so if they do not hold the answer.",
        (
            FieldSpec("question", description="What the customer asks."),
            FieldSpec("passages", is_list=True, description="Passages of the knowledge base, the best match first."),
            FieldSpec("answer", is_input=False, description="The answer, in the words of the passages."),
        ),
    )
    return SampleProgram(
        ANSWER,
        "Searches the knowledge base and answers a question from what it finds; the passages come with the answer.",
        (
            SampleModule("search", ModuleKind.RETRIEVE, config={"corpus": corpus, "k": 3}),
            SampleModule("respond", ModuleKind.CHAIN_OF_THOUGHT, signature),
        ),
        (ConnectionSpec("", "question", "search", "query"),),
        {"outputs": ["answer", "passages"]},
        credits_per_execution=CHARGE,
    )


def _assistant(corpus: str) -> SampleProgram:
    signature = SignatureSpec(
        ASSISTANT,
        "Help a customer of Velorum. Look up what you do not know, work out delivery dates, then answer in a few "
        "sentences.",
        (
            FieldSpec("request", description="What the customer wants to know."),
            FieldSpec("answer", is_input=False, description="The answer to the customer."),
        ),
    )
    return SampleProgram(
        ASSISTANT,
        "Needs a real language model: it decides which tool to call, and the example matcher cannot. "
        "Its tools search the knowledge base and work out delivery dates.",
        (
            SampleModule(
                "assist",
                ModuleKind.REACT,
                signature,
                {"tools": ["search_knowledge_base", "delivery_date"], "corpus": corpus, "k": 3, "max_iterations": 6},
            ),
        ),
        is_deployed=False,
    )


def _choice(name: str, choices: tuple[str, ...], description: str) -> FieldSpec:
    return FieldSpec(name, FieldType.ENUM, is_input=False, choices=choices, description=description)
