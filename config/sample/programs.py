"""What the programs of the sample workspace consist of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from config.sample.texts import evenly_by_intent, messages
from datasets.types import DatasetType
from programs.types import ConnectionSpec, FieldSpec, FieldType, ModuleKind, PromptSpec, SignatureSpec

TRIAGE = "triage"
ANSWER = "answer_with_sources"
ASSISTANT = "assistant"

INTENTS = {
    "order_status": "asks where an order or parcel is, when it arrives, whether it was shipped or dispatched, "
    "tracking, still waiting for the delivery",
    "delivery_problem": "a parcel lost, stolen, damaged or broken on arrival, a missing item, the wrong item, "
    "delivered to the wrong address or neighbour by the driver",
    "return_request": "wants to return, send back or exchange something, another size, return label, changed my mind",
    "refund_status": "sent something back or cancelled it and waits for the money, refund not received or credited",
    "payment_problem": "cannot pay, checkout fails, card declined, charged or debited twice, payment by bank transfer "
    "or PayPal",
    "invoice_request": "needs an invoice, bill, receipt or credit note, VAT, tax, accounting, company name on it",
    "account_access": "cannot log in, login, password, code, account locked or hacked, change of email address",
    "product_question": "does it fit, which size, compatible, what material, advice on a product, part or bike",
    "warranty_claim": "a product broke, cracked, fell apart or stopped working after some months, guarantee, warranty, "
    "defect",
    "workshop_booking": "an appointment in the workshop, book, move or cancel a service, inspection or repair of the "
    "bike, mechanic, slot",
    "complaint": "complains about staff, rude, tone, bad service, unfriendly, disappointed, unacceptable",
}

URGENCIES = {
    "low": "out of interest, no hurry, thanks or small talk, nothing bad happens if the answer takes a week",
    "normal": "a matter to be settled within the usual one or two working days",
    "high": "danger, theft, fraud, a lot of money, a deadline today or tomorrow, a threat of legal steps, act now",
}

DEMOS = 64

CHARGE = 100_000
"""Micro-credits for one execution: a tenth of a credit, the same whichever language model answers."""


@dataclass(frozen=True, slots=True)
class SampleModule:
    """One step; one without a signature asks no language model."""

    key: str
    kind: ModuleKind
    signature: SignatureSpec | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    prompt: PromptSpec | None = None


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


def triage_demos() -> tuple[dict[str, str], ...]:
    """Training messages that the prompt of `triage` shows, the intents taking turns."""
    return tuple(item.as_example() for item in evenly_by_intent(messages(DatasetType.TRAINING), DEMOS))


def _triage() -> SampleProgram:
    signature = SignatureSpec(
        TRIAGE,
        "\n".join(
            [
                "Read one message of a customer of Velorum, a shop and workshop for bicycle parts.",
                "Say what the customer wants and how soon somebody has to act.",
                "",
                "The intent is what the customer wants done now, not everything that is mentioned:",
                *_lines(INTENTS),
                "",
                "The urgency follows from what happens if nobody acts, not from the tone:",
                *_lines(URGENCIES),
            ]
        ),
        (
            FieldSpec("message", description="What the customer wrote."),
            _choice("intent", tuple(INTENTS), "What the customer wants."),
            _choice("urgency", tuple(URGENCIES), "How soon somebody has to act."),
        ),
    )
    prompt = PromptSpec(signature.instructions, triage_demos())
    return SampleProgram(
        TRIAGE,
        "Says what a message to the support desk is about and how urgent it is.",
        (SampleModule("classify", ModuleKind.PREDICT, signature, prompt=prompt),),
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


def _lines(meanings: Mapping[str, str]) -> list[str]:
    return [f"{label}: {meaning}" for label, meaning in meanings.items()]
