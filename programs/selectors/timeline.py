"""What happened to a program, all of its versions together, the latest first.

Edits come from the history of the program and its parts, deployments and roll-backs from their own rows; a higher app
adds what it does to programs, such as compile jobs (`add_timeline_source`). Each source is asked for no more than a
page, by the time where the page begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from heapq import nlargest
from typing import Any, TypeAlias
from uuid import UUID

from django.db.models import Max, OuterRef, QuerySet, Subquery
from django.utils import timezone

from mlops.querysets import Viewer
from mlops.selectors.history import deletions, difference
from programs.models import Deployment, Module, ModuleConnection, Program, PromptVersion, Signature

Key: TypeAlias = tuple[datetime, str]
"""Where an event stands: its time, and its id where times are equal."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `kind` is edit, deployment, roll_back, or what a higher app calls its own.

    `fields` names the columns that an edit changed; `record` and `id` lead to the row, `state` to its history.
    """

    id: str
    time: datetime
    kind: str
    verb: str
    record: str
    record_id: UUID
    title: str
    version: int | None
    user: str | None = None
    source: str = ""
    request_id: str = ""
    fields: tuple[str, ...] = ()
    note: str = ""
    state: int | None = None
    result: str = ""

    @property
    def key(self) -> Key:
        return self.time, self.id


@dataclass(frozen=True, slots=True)
class Page:
    """`versions` of one name that the viewer may see, by id, also those that have been deleted; events up to `until`,
    `size` of each source."""

    viewer: Viewer
    versions: dict[UUID, Program]
    until: datetime
    size: int

    def version_of(self, program: UUID | None) -> int | None:
        found = self.versions.get(program) if program else None
        return found.version if found else None

    def latest(self, rows: QuerySet[Any], time: str) -> QuerySet[Any]:
        """The latest of `rows` by the column `time`. Those of the very time `until` come on top of `size`: the page
        before may have ended among them."""
        tied = rows.filter(**{time: self.until}).count()
        return rows.filter(**{f"{time}__lte": self.until}).order_by(f"-{time}", "-pk")[: self.size + tied]


Source: TypeAlias = Callable[[Page], Iterable[Event]]

_sources: list[Source] = []


def add_timeline_source(source: Source) -> None:
    """Have timelines tell what `source` knows of the programs of a page."""
    _sources.append(source)


def timeline(*, actor: Viewer, program: Program, before: Key | None = None, size: int = 50) -> list[Event]:
    """At most `size` events of all versions of the program's name that `actor` may see, those before `before`."""
    page = Page(actor, _versions(actor, program.name), before[0] if before else timezone.now(), size + 1)
    events = (event for source in (_edits, _deployments, *_sources) for event in source(page))
    return nlargest(
        size, (event for event in events if before is None or event.key < before), key=lambda event: event.key
    )


def _versions(viewer: Viewer, name: str) -> dict[UUID, Program]:
    there = {row.pk: row for row in Program.objects.visible_to(viewer).filter(name=name)}
    states = deletions(Program, viewer).filter(name=name)
    deleted = {state.id: Program(id=state.id, name=name, version=state.version) for state in states}
    return {**deleted, **there}


def _edits(page: Page) -> Iterator[Event]:
    """Of the programs themselves, of their parts, and of the signatures that their modules have or had."""
    of_programs = Program.history.filter(id__in=page.versions)
    of_modules, of_connections = (
        model.history.filter(program_id__in=page.versions) for model in (Module, ModuleConnection)
    )
    of_prompts = PromptVersion.history.filter(module_id__in=of_modules.values("id"))
    of_signatures = Signature.history.filter(id__in=of_modules.values("signature_id"))
    modules = _modules_ever(of_modules)
    told_by_deployments = ["deploy", "roll_back"]

    def of_prompt(state: Any) -> tuple[str, int | None]:
        key, program = modules[state.module_id]
        return f"{key} {state.version}", page.version_of(program)

    yield from _states(page, of_programs.exclude(history_change_reason__in=told_by_deployments), _of_program)
    yield from _states(page, of_modules, lambda state: (state.key, page.version_of(state.program_id)))
    yield from _states(page, of_connections, lambda state: (_wire(state), page.version_of(state.program_id)))
    yield from _states(page, of_prompts, of_prompt)
    yield from _states(page, of_signatures, lambda state: (f"{state.name}@{state.version}", None))


def _of_program(state: Any) -> tuple[str, int | None]:
    return f"{state.name}@{state.version}", int(state.version)


def _wire(connection: Any) -> str:
    return f"{connection.from_field} -> {connection.to_field}"


def _modules_ever(states: QuerySet[Any]) -> dict[UUID, tuple[str, UUID]]:
    """Key and program of each module, also of those that have been deleted since."""
    named = states.values_list("id", "key", "program_id").annotate(last=Max("history_id")).order_by("last")
    return {module: (key, program) for module, key, program, _last in named}


def _states(page: Page, states: QuerySet[Any], describe: Callable[[Any], tuple[str, int | None]]) -> Iterator[Event]:
    """The latest of `states` as events, with title and version as `describe` says; what each changed is read for all
    of them at once."""
    history = states.model.objects
    earlier = history.filter(id=OuterRef("id"), history_id__lt=OuterRef("history_id")).order_by("-history_id")
    named = states.select_related("history_user").annotate(earlier_id=Subquery(earlier.values("history_id")[:1]))
    found = list(page.latest(named, "history_date"))
    before = history.in_bulk([state.earlier_id for state in found if state.earlier_id])
    for state in found:
        title, version = describe(state)
        yield _edit(state, before.get(state.earlier_id), title, version)


def _edit(state: Any, before: Any | None, title: str, version: int | None) -> Event:
    record = str(state.instance_type._meta.model_name)
    return Event(
        id=f"{record}-{state.history_id:020d}",
        time=state.history_date,
        kind="edit",
        verb=state.history_change_reason or "",
        record=record,
        record_id=state.id,
        title=title,
        version=version,
        user=state.history_user.username if state.history_user else None,
        source=state.history_source,
        request_id=state.history_request_id,
        fields=() if before is None else tuple(change.field for change in difference(before, state)),
        state=state.history_id,
    )


def _deployments(page: Page) -> Iterator[Event]:
    rows = Deployment.objects.filter(program__in=page.versions).select_related("user", "replaced")
    for row in page.latest(rows, "created_at"):
        program = page.versions[row.program_id]
        yield Event(
            id=str(row.pk),
            time=row.created_at,
            kind="roll_back" if row.is_roll_back else "deployment",
            verb="roll_back" if row.is_roll_back else "deploy",
            record="deployment",
            record_id=row.pk,
            title=str(program),
            version=program.version,
            user=row.user.username if row.user else None,
            source=row.source,
            request_id=row.request_id,
            note=row.reason,
            result="" if row.replaced is None else f"replaced {row.replaced}",
        )
