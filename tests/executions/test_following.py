"""Those who follow all executions of a program, and the nudges by which readers hear of commits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from executions.models import Execution
from executions.services import cancel_execution
from mlops.errors import Unavailable
from mlops.models import User
from mlops.models.base import first_id_at
from mlops.services import following
from mlops.services.database import off_the_loop
from mlops.services.following import Followers, followers_of
from mlops.services.nudges import Nudger, nudge
from mlops.services.watching import Change, Watchers, watchers_of
from programs.models import PromptSet
from tests.executions.rows import make_prompt_set, new_execution

pytestmark = pytest.mark.django_db(transaction=True)

SOON_S = 5


@pytest.fixture
def prompts() -> PromptSet:
    return make_prompt_set("followed")


@pytest.fixture(autouse=True)
def _only_when_nudged(monkeypatch: pytest.MonkeyPatch) -> None:
    for readers in (Watchers, Followers):
        monkeypatch.setattr(readers, "poll_s", 60)


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


async def saved(row: Execution) -> Execution:
    """As another process stores it and says so."""
    await off_the_loop(row.save)
    nudge(Execution)
    return row


async def changed(row: Execution, **values: Any) -> None:
    await off_the_loop(lambda: Execution.objects.filter(pk=row.pk).update(**values))
    nudge(Execution)


async def heard(changes: AsyncGenerator[Change, None]) -> tuple[Any, str, int]:
    change = await asyncio.wait_for(anext(changes), SOON_S)
    return change.id, change.state, change.revision


async def hears_nothing(changes: AsyncGenerator[Change, None]) -> bool:
    """Whether nothing is told by one more look; ends them."""
    await followers_of(Execution, "program").look()
    waiting = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0)
    waiting.cancel()
    done, _ = await asyncio.wait({waiting})
    return done.pop().cancelled()


def test_what_is_under_way_comes_first_then_what_is_new_and_what_changes(erin: User, prompts: PromptSet) -> None:
    old = new_execution(erin, prompts, id=first_id_at(timezone.now() - timedelta(days=3)))
    ended = new_execution(erin, prompts, state="completed")
    foreign = new_execution(erin, make_prompt_set("another"))
    for row in (old, ended, foreign):
        row.save()

    async def follow() -> None:
        changes = followers_of(Execution, "program").changes(prompts.program_id)
        assert await heard(changes) == (old.pk, "pending", 1)
        new = await saved(new_execution(erin, prompts))
        assert await heard(changes) == (new.pk, "pending", 1)
        await changed(old, state="running", revision=2)
        assert await heard(changes) == (old.pk, "running", 2)
        await changed(foreign, state="running", revision=2)
        # Made a while before it is committed, and over before anybody looks.
        late_id = first_id_at(timezone.now() - timedelta(seconds=5))
        late = await saved(new_execution(erin, prompts, id=late_id, state="completed", revision=3))
        assert await heard(changes) == (late.pk, "completed", 3)
        await changed(old, state="failed", revision=3)
        assert await heard(changes) == (old.pk, "failed", 3)

        # Whoever comes later begins with what is under way then.
        second = followers_of(Execution, "program").changes(prompts.program_id)
        assert await heard(second) == (new.pk, "pending", 1)
        await changed(new, state="cancelled", revision=2)
        assert await heard(changes) == await heard(second) == (new.pk, "cancelled", 2)
        assert await hears_nothing(changes)
        assert await hears_nothing(second)
        assert not followers_of(Execution, "program").is_watched()

    run(follow())


def test_of_many_under_way_the_newest_are_told(erin: User, prompts: PromptSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "PRESENT", 2)
    rows = [new_execution(erin, prompts) for _ in range(4)]
    for row in rows:
        row.save()

    async def follow() -> None:
        changes = followers_of(Execution, "program").changes(prompts.program_id)
        assert [(await heard(changes))[0] for _ in range(2)] == [row.pk for row in rows[2:]]
        await changed(rows[0], state="running", revision=2)  # the others are followed all the same
        assert await heard(changes) == (rows[0].pk, "running", 2)
        await changes.aclose()

    run(follow())


def test_a_follower_hears_of_each_row_the_latest_and_is_told_when_it_lags_too_far(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "MAX_UNHEARD", 2)
    keys = [first_id_at(timezone.now() + timedelta(days=day)) for day in range(4)]

    async def lag() -> None:
        follower = following.Follower()
        for revision in (1, 2, 3):
            follower.offer(Change(keys[0], "running", revision))
        assert (await follower.next()).revision == 3
        for key in keys:
            follower.offer(Change(key, "running", 1))
        with pytest.raises(Unavailable) as refusal:
            await follower.next()
        assert refusal.value.code == "updates_missed"

    run(lag())


def test_a_nudge_reaches_those_who_wait_for_one_row(erin: User, prompts: PromptSet) -> None:
    row = new_execution(erin, prompts)
    row.save()

    async def wait() -> None:
        watchers = watchers_of(Execution)
        for revision in (2, 3):
            changes = watchers.changes(row.pk)
            await heard(changes)
            await changed(row, state="running", revision=revision)
            assert await heard(changes) == (row.pk, "running", revision)
            await changes.aclose()
            nudge(Execution)
            while watchers._wanted.is_set():  # the reader goes to rest, since nobody waits
                await asyncio.sleep(0)

    run(wait())


def test_verbs_nudge_once_they_are_committed(erin: User, prompts: PromptSet) -> None:
    row = new_execution(erin, prompts)
    row.save()

    async def wait() -> None:
        changes = followers_of(Execution, "program").changes(prompts.program_id)
        await heard(changes)
        await off_the_loop(lambda: cancel_execution(actor=erin, execution=row))
        assert await heard(changes) == (row.pk, "cancelled", 2)
        await changes.aclose()

    run(wait())


def test_without_redis_nobody_is_held_up_and_changes_are_looked_for(
    erin: User, prompts: PromptSet, settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings.SIGNET_REDIS_URL = url = "redis://127.0.0.1:9/0"
    settings.CHANNEL_LAYERS = {
        "default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [url]}}
    }
    monkeypatch.setattr(Watchers, "poll_s", 0.05)
    row = new_execution(erin, prompts)
    row.save()
    nudger = Nudger()

    async def wait() -> None:
        changes = watchers_of(Execution).changes(row.pk)
        await heard(changes)
        await off_the_loop(lambda: Execution.objects.filter(pk=row.pk).update(revision=2))
        nudger.nudge(Execution)
        assert await heard(changes) == (row.pk, "pending", 2)
        await changes.aclose()

    run(wait())
    assert {record.getMessage().split(";")[0] for record in caplog.records} == {"Redis does not answer"}
