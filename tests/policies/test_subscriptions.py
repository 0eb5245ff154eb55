"""Every subscription, by everybody: it tells what `visible_to` shows them, and nothing of anything else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.db.models import Model

from config.graphql import Subscription
from executions.models import Execution
from mlops.models import User
from mlops.services.database import off_the_loop
from mlops.services.nudges import nudge
from programs.models import Program
from programs.services import choose_prompt_set
from tests.policies.cases.executions import completed, evaluation
from tests.policies.cases.optimizations import optimization
from tests.policies.people import World
from tests.policies.table import Person
from tests.sockets import Conversation

pytestmark = pytest.mark.django_db(transaction=True)

NOBODY = (Person.ANONYMOUS, Person.DEACTIVATED)


def rows(world: World) -> dict[str, tuple[str, Model]]:
    """Root field -> its argument and what it names."""
    return {
        "execution_updates": ("executionId", completed(world)),
        "evaluation_updates": ("evaluationId", evaluation(world, world.program("testing"))),
        "optimization_updates": ("optimizationId", optimization(world)),
    }


async def introduced(one: Conversation, world: World, person: Person) -> Any:
    payload = {"Authorization": f"Bearer {world.tokens[person]}"} if person in world.tokens else {}
    one.say({"type": "connection_init", "payload": payload})
    return await one.hear()


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def test_one_row() -> None:
    world = World.create()
    made = rows(world)
    assert set(made) == set(Subscription._meta.fields)

    async def ask(person: Person, name: str) -> None:
        argument, row = made[name]
        async with Conversation() as one:
            greeting = await introduced(one, world, person)
            if person in NOBODY:
                assert greeting in (4401, 4403)
                return
            one.subscribe(f'subscription {{ {camel(name)}({argument}: "{row.pk}") {{ id }} }}')
            answer = await one.hear()
            actor = await off_the_loop(lambda: world.actor(person))
            manager: Any = type(row)._default_manager
            if await off_the_loop(lambda: manager.visible_to(actor).filter(pk=row.pk).exists()):
                assert answer["payload"] == {"data": {camel(name): {"id": str(row.pk)}}}
            else:
                assert (answer["type"], len(answer["payload"])) == ("error", 1)
                assert answer["payload"][0]["extensions"] == {"code": f"{name.removesuffix('_updates')}_not_found"}

    async def ask_all() -> None:
        for name in made:
            for person in Person:
                await ask(person, name)

    asyncio.run(ask_all())


@pytest.mark.parametrize("is_limited", [True, False], ids=["of a group", "of all"])
def test_all_executions_of_a_program(is_limited: bool) -> None:
    world = World.create()
    program = world.program("production", **({} if is_limited else {"group": None}))
    people = [person for person in Person if person not in NOBODY]
    for person in people:
        begin(program, world.users[person])

    async def ask(person: Person) -> None:
        actor = await off_the_loop(lambda: world.actor(person))
        visible = Program.objects.visible_to(actor).filter(pk=program.pk)
        async with Conversation() as one:
            greeting = await introduced(one, world, person)
            if person in NOBODY:
                assert greeting in (4401, 4403)
                return
            one.subscribe(f'subscription {{ executionUpdates(programId: "{program.pk}") {{ id }} }}')
            if not await off_the_loop(visible.exists):
                assert (await one.hear())["payload"][0]["extensions"] == {"code": "program_not_found"}
                return
            shown = Execution.objects.visible_to(actor).filter(program=program).order_by("pk")
            expected = [str(key) for key in await off_the_loop(lambda: list(shown.values_list("pk", flat=True)))]
            assert [await told(one) for _ in expected] == expected
            # What others begin is not told them, what they begin themselves is.
            for other in people:
                await off_the_loop(lambda who=other: begin(program, world.users[who]))  # type: ignore[misc]
            own = await off_the_loop(lambda: begin(program, world.users[person]))
            nudge(Execution)
            heard: list[str] = []
            while not heard or heard[-1] != str(own.pk):
                heard.append(await told(one))
            new = await off_the_loop(lambda: list(shown.values_list("pk", flat=True)))
            assert sorted(heard) == [str(key) for key in new if str(key) not in expected]

    async def ask_all() -> None:
        for person in Person:
            await ask(person)

    asyncio.run(ask_all())


def begin(program: Program, user: User) -> Execution:
    given = {"mode": "async", "source": "rest", "input": {"message": "lost"}}
    return Execution.objects.create(user=user, program=program, prompt_set=choose_prompt_set(program), **given)


async def told(one: Conversation) -> str:
    answer = await one.hear()
    return str(answer["payload"]["data"]["executionUpdates"]["id"])
