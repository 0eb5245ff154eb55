"""Executions that are read while they run: rows, credits and keys as of any other, and what becomes of those that are
left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

import pytest

from executions.models import Execution
from executions.services import cancel_execution, process, stream_execution
from executions.services.execute import Answer, Request, answer, execute_program
from executions.services.process import ExecutionProcess
from executions.services.streaming import Streaming, begin, stream
from executions.types import Mode, Piece, Step
from mlops.errors import Conflict, InsufficientCredits, Invalid, NotFound
from mlops.models import CreditEntry, IdempotencyRecord, User
from mlops.selectors import proven_balance
from tests.executions.conftest import state_of
from tests.executions.programs import make_program, provided_model
from tests.factories import make_user
from tests.installation import eventually
from tests.mlops.budgets.making import make_budget
from tests.provider import Dictation, Provider, hang

pytestmark = pytest.mark.django_db(transaction=True)

T = TypeVar("T")

ASKED: dict[str, Any] = {"program": "answering", "input": {"question": "Why?"}}
SAID = "[[ ## answer ## ]]\nIt"


@pytest.fixture
def user(provider: Provider) -> User:
    provided_model(provider)
    make_program()
    return make_user(credits=10)


def asked(**options: Any) -> Request:
    return Request(**{**ASKED, **options})


def here() -> ExecutionProcess:
    return process.ensure_started()


def on_its_loop(work: Callable[[], Awaitable[T]]) -> T:
    async def bounded() -> T:
        return await asyncio.wait_for(work(), 30)

    return here().submit(bounded()).result(40)


def read(user: User, **options: Any) -> list[Any]:
    """All items of a stream."""

    async def items() -> list[Any]:
        return [item async for item in stream(user, asked(**options))]

    return on_its_loop(items)


def begun(user: User, count: int, **options: Any) -> tuple[Streaming, list[Any]]:
    """A stream that is read up to its item `count`."""

    async def first() -> tuple[Streaming, list[Any]]:
        streaming = await begin(user, asked(**options))
        return streaming, [await streaming.next() for _ in range(count)]

    return on_its_loop(first)


def kinds(row: Execution) -> list[str]:
    return list(CreditEntry.objects.filter(subject_id=row.pk).order_by("pk").values_list("kind", flat=True))


def is_settled(user: User, row: Execution) -> bool:
    """Whether what the row used is all that the account has lost."""
    user.refresh_from_db()
    ended = "settle" if row.credits_used else "release"
    return kinds(row) == ["reserve", ended] and user.ml_credits == 10_000_000 - row.credits_used == proven_balance(user)


def test_it_ends_with_the_execution_as_it_is_stored(provider: Provider, user: User) -> None:
    *before, answer = read(user)
    row = Execution.objects.get()
    assert before[0] == Step("main", "started")
    assert before[-1] == Step("main", "completed")
    pieces = before[1:-1]
    assert {(piece.module, piece.field) for piece in pieces} == {("main", "answer")}
    assert "".join(piece.text for piece in pieces) == "some answer" == row.output["answer"]  # type: ignore[index]
    assert isinstance(answer, Answer)
    assert (answer.execution.pk, answer.execution.state, row.state, row.mode) == (
        row.pk,
        "completed",
        "completed",
        "sync",
    )
    assert answer.execution.output == row.output
    assert row.cost == row.token_usage["input"] * 400_000 + row.token_usage["output"] * 1_600_000
    assert is_settled(user, row)
    assert (answer.balance, row.leased_by) == (user.ml_credits, here().name)
    assert len(provider.requests) == 1


def test_python_reads_on_any_loop(user: User) -> None:
    async def items() -> list[Any]:
        return [item async for item in stream_execution(actor=user, program="answering", input={"question": "Why?"})]

    found = asyncio.run(items())
    assert (found[0], found[-1].execution.state) == (Step("main", "started"), "completed")


@pytest.mark.parametrize(
    ("options", "refusal", "code"),
    [
        ({"program": "nothing"}, NotFound, "program_not_found"),
        ({"input": {}}, Invalid, "invalid_input"),
        ({"mode": Mode.ASYNC}, Invalid, "invalid_option"),
    ],
)
def test_refusals_come_before_the_first_item_and_store_nothing(
    provider: Provider, user: User, options: dict[str, Any], refusal: type[Exception], code: str
) -> None:
    with pytest.raises(refusal) as caught:
        read(user, **options)
    assert caught.value.code == code  # type: ignore[attr-defined]
    assert (Execution.objects.count(), CreditEntry.objects.filter(kind="reserve").count()) == (0, 0)
    assert provider.requests == []


def test_without_credits_it_is_refused(provider: Provider, user: User) -> None:
    with pytest.raises(InsufficientCredits):
        read(make_user(credits=0))
    assert (Execution.objects.count(), provider.requests) == (0, [])


def test_a_reader_who_leaves_cancels_the_call_and_pays_for_what_was_used(provider: Provider, user: User) -> None:
    dictation = Dictation()
    provider.script(dictation)
    dictation.say(SAID)
    streaming, items = begun(user, 2)
    assert items == [Step("main", "started"), Piece("main", "answer", "It")]
    row = Execution.objects.get()
    assert (row.state, row.pk) == ("running", streaming.execution_id)
    streaming.leave()
    assert dictation.left.wait(10)
    eventually(lambda: state_of(row) == "cancelled")
    row = Execution.objects.get()
    assert (row.output, row.cost) == (None, None)
    assert row.token_usage["unpriced"] == 1
    assert row.credits_used == row.credits_reserved > 0, "nobody knows what the provider counts, an upper estimate does"
    assert is_settled(user, row)
    eventually(lambda: here().running == {})
    assert len(provider.requests) == 1


def test_leaving_before_anything_has_come_costs_nothing(provider: Provider, user: User) -> None:
    provider.script(hang())
    streaming, _ = begun(user, 1)
    eventually(lambda: provider.in_flight == 1)
    streaming.leave()
    row = Execution.objects.get()
    eventually(lambda: state_of(row) == "cancelled" and provider.in_flight == 0)
    row = Execution.objects.get()
    assert (row.credits_used, row.cost) == (0, 0)
    assert is_settled(user, row)


def test_closing_the_generator_is_leaving(provider: Provider, user: User) -> None:
    dictation = Dictation()
    provider.script(dictation)
    dictation.say(SAID)

    async def closed() -> None:
        async with aclosing(stream_execution(actor=user, program="answering", input={"question": "Why?"})) as items:
            async for item in items:
                if isinstance(item, Piece):
                    return

    asyncio.run(closed())
    assert dictation.left.wait(10)
    eventually(lambda: Execution.objects.get().state == "cancelled")


def reserved_of_budgets() -> int:
    """What this process holds back of the budget of `budgeted`."""
    (purse,) = here().budgets._purses.values()
    return purse.reserved


@pytest.fixture
def budgeted() -> None:
    make_budget(limit=10**12)


async def cancelled_while_stored(work: Coroutine[Any, Any, object]) -> None:
    """Run `work`, and cancel it as soon as the writer was handed what it stores."""
    task = asyncio.create_task(work)
    while not here()._writer._waiting:
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


@pytest.mark.usefixtures("budgeted")
@pytest.mark.parametrize("options", [{}, {"idempotency_key": "once"}], ids=["plain", "with a key"])
def test_a_reader_who_leaves_while_it_is_stored_cancels_it(
    provider: Provider, user: User, options: dict[str, Any]
) -> None:
    on_its_loop(lambda: cancelled_while_stored(begin(user, asked(**options))))
    eventually(lambda: Execution.objects.filter(state="cancelled").exists())
    row = Execution.objects.get()
    assert (row.credits_used, row.cost, row.attempt) == (0, 0, 1)
    assert is_settled(user, row)
    eventually(lambda: (here().running, reserved_of_budgets()) == ({}, 0))
    assert provider.requests == []
    if options:
        (answer,) = read(user, **options)
        assert (answer.is_repeated, answer.execution.pk) == (True, row.pk)


def test_a_reader_on_another_loop_who_leaves_before_they_are_told_cancels_it(provider: Provider, user: User) -> None:
    provider.script(hang())

    async def left() -> None:
        beginning = asyncio.create_task(begin(user, asked()))
        await asyncio.sleep(0)
        eventually(lambda: provider.in_flight == 1)  # it runs, and this loop, which is held up, has not heard of it
        beginning.cancel()
        await asyncio.wait({beginning})
        assert beginning.cancelled()

    here()
    asyncio.run(left())
    row = Execution.objects.get()
    eventually(lambda: state_of(row) == "cancelled")
    assert is_settled(user, Execution.objects.get())


@pytest.mark.usefixtures("budgeted")
def test_what_is_not_streamed_goes_on_when_its_client_leaves_while_it_is_stored(provider: Provider, user: User) -> None:
    on_its_loop(lambda: cancelled_while_stored(answer(user, asked(idempotency_key="once"))))
    eventually(lambda: Execution.objects.filter(state="completed").exists())
    row = Execution.objects.get()
    assert (row.attempt, len(provider.requests)) == (1, 1)
    assert is_settled(user, row)
    eventually(lambda: reserved_of_budgets() == 0)
    assert execute_program(actor=user, **ASKED, idempotency_key="once").pk == row.pk


@pytest.mark.usefixtures("budgeted")
def test_a_client_who_leaves_while_it_is_refused_leaves_nothing_behind(provider: Provider, user: User) -> None:
    poor = make_user(credits=0)
    on_its_loop(lambda: cancelled_while_stored(begin(poor, asked())))
    eventually(lambda: not here()._writer._waiting and reserved_of_budgets() == 0)
    assert (Execution.objects.count(), here().running, provider.requests) == (0, {}, [])


def test_leaving_after_the_end_undoes_nothing(user: User) -> None:
    async def all_read() -> Streaming:
        streaming = await begin(user, asked())
        while await streaming.next() is not None:
            pass
        return streaming

    on_its_loop(all_read).leave()
    assert Execution.objects.get().state == "completed"


@pytest.mark.parametrize(("said", "charged"), [(SAID, 500), ("", 0)])
def test_a_fixed_price_is_owed_by_whoever_read_some_of_the_answer(provider: Provider, said: str, charged: int) -> None:
    """Otherwise one would leave at the last word and pay nothing."""
    provided_model(provider)
    make_program(credits_per_execution=500)
    user = make_user(credits=10)
    dictation = Dictation()
    provider.script(dictation)
    if said:
        dictation.say(said)
    streaming, _ = begun(user, 2 if said else 1)
    eventually(lambda: provider.in_flight == 1)
    streaming.leave()
    row = Execution.objects.get()
    eventually(lambda: state_of(row) == "cancelled")
    row = Execution.objects.get()
    assert row.credits_used == charged
    assert is_settled(user, row)


def test_a_provider_that_breaks_off_ends_it_as_failed_and_is_paid_for(provider: Provider, user: User) -> None:
    dictation = Dictation()
    provider.script(dictation)
    dictation.say(SAID)
    dictation.break_off()
    *before, answer = read(user)
    row = Execution.objects.get()
    assert before == [Step("main", "started"), Piece("main", "answer", "It")]
    assert (answer.execution.state, row.state, row.error_code) == ("failed", "failed", "provider_unavailable")
    assert row.credits_used == row.credits_reserved > 0
    assert is_settled(user, row)
    assert len(provider.requests) == 1


def test_a_spent_key_gives_the_execution_of_the_first_request_once_it_has_ended(provider: Provider, user: User) -> None:
    dictation = Dictation()
    provider.script(dictation)
    dictation.say(SAID)
    first, _ = begun(user, 2, idempotency_key="once")
    second, _ = begun(user, 0, idempotency_key="once")
    assert (second.is_repeated, second.execution_id) == (True, first.execution_id)
    begun(user, 0, idempotency_key="once")[0].leave()
    dictation.end()

    async def rest(streaming: Streaming) -> list[Any]:
        items = []
        while (item := await streaming.next()) is not None:
            items.append(item)
        return items

    (answer,) = on_its_loop(lambda: rest(second))
    assert (answer.is_repeated, answer.execution.state, answer.execution.pk) == (True, "completed", first.execution_id)
    assert on_its_loop(lambda: rest(first))[-1].execution.state == "completed"
    assert (Execution.objects.count(), len(provider.requests), IdempotencyRecord.objects.count()) == (1, 1, 1)
    with pytest.raises(Conflict):
        read(user, idempotency_key="once", input={"question": "What else?"})


def test_streamed_or_not_a_key_stands_for_the_same_request(provider: Provider, user: User) -> None:
    execution = execute_program(actor=user, **ASKED, idempotency_key="once")
    (answer,) = read(user, idempotency_key="once")
    assert answer.execution.pk == execution.pk
    assert len(provider.requests) == 1


def test_a_slow_reader_holds_up_nobody_and_is_kept_little_for(provider: Provider, user: User) -> None:
    """The other execution ends, the one that is read slowly too, and its pieces have become one per field."""
    words = " ".join(f"word{number}" for number in range(2000))
    provider.answer(f"[[ ## answer ## ]]\n{words}\n\n[[ ## completed ## ]]")
    slow, _ = begun(user, 0)
    assert read(make_user(credits=10))[-1].execution.state == "completed"
    eventually(lambda: state_of(Execution.objects.get(pk=slow.execution_id)) == "completed")

    async def rest() -> list[Any]:
        return [await slow.next() for _ in range(4)]

    assert on_its_loop(rest)[:3] == [
        Step("main", "started"),
        Piece("main", "answer", words),
        Step("main", "completed"),
    ]


def test_who_cancels_it_from_elsewhere_ends_the_stream(provider: Provider, user: User) -> None:
    dictation = Dictation()
    provider.script(dictation)
    dictation.say(SAID)
    streaming, _ = begun(user, 2)
    cancel_execution(actor=user, execution=Execution.objects.get())
    answer = on_its_loop(streaming.next)
    assert isinstance(answer, Answer)
    assert answer.execution.state == "cancelled"
    assert on_its_loop(streaming.next) is None
