"""Types of records: explicit fields of a row, in the scope of `visible_to`, related to others through their peers.

    class ProgramType(Record):
        class Meta:
            name = "Program"
            model = Program
            fields = ("id", "name", "version", "status")
            heavy = ("config", "metrics")
            listed = Listed(ProgramFilter, orderings=("name",), search=("name", "description"))

        group = Target(GroupType)
        modules = Children(ModuleType, "program")

Relations lead down the stack of apps. What leads up is added by the higher app, in its `AppConfig.ready()`:

    add_field(ProgramType, "executions", Children(ExecutionType, "program"))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

import graphene
from django.db.models import CharField, Model, QuerySet, Value
from django.utils.translation import gettext as _
from graphene_django import DjangoObjectType
from graphene_django.types import DjangoObjectTypeOptions

from mlops.errors import NotFound
from mlops.graphql.peers import target_of, together
from mlops.graphql.scalars import Heavy
from mlops.models import User
from mlops.selectors import access, not_found


def actor_of(info: Any) -> User:
    """Who asks; the view lets nobody else in."""
    actor: User = info.context.actor
    return actor


class Node(graphene.relay.Node):  # type: ignore[misc]  # graphene has no types
    """A row. Its `id` is the one that it has on every edge: ids are UUIDs, and no two tables share one."""

    class Meta:
        name = "Node"

    @staticmethod
    def to_global_id(type_: str, id: Any) -> str:
        return str(id)

    @classmethod
    def get_node_from_global_id(cls, info: Any, global_id: str, only_type: Any = None) -> Any:
        """The row with this id, in whatever table; None for what is missing or not theirs. Two queries."""
        key = _key_of(global_id)
        kind = key and _kind_of(key)
        return kind.get_node(info, key) if kind else None


@dataclass(frozen=True, slots=True)
class Listed:
    """How rows of a type are listed: by which filters, in which orders, and where a search looks; as over REST."""

    filters: Any = None
    orderings: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    order_by: tuple[str, ...] = ("-id",)


class RecordOptions(DjangoObjectTypeOptions):  # type: ignore[misc]  # graphene has no types
    deferred: tuple[str, ...] = ()
    listed = Listed()


class Record(DjangoObjectType):  # type: ignore[misc]  # graphene has no types
    """The type of one kind of row; see the module.

    `heavy` columns are read only where they are asked for, `unread` ones never.
    """

    kinds: ClassVar[list[type[Record]]] = []

    class Meta:
        abstract = True

    @classmethod
    def __init_subclass_with_meta__(
        cls,
        *,
        model: type[Model] | None = None,
        fields: tuple[str, ...] = (),
        heavy: tuple[str, ...] = (),
        unread: tuple[str, ...] = (),
        listed: Listed | None = None,
        **options: Any,
    ) -> None:
        _meta = RecordOptions(cls)
        _meta.deferred = (*heavy, *unread)
        _meta.listed = listed or Listed()
        super().__init_subclass_with_meta__(
            _meta=_meta,
            model=model,
            fields=(*fields, *heavy),
            convert_choices_to_enum=False,
            interfaces=(Node,),
            **options,
        )
        for column in set(heavy) - vars(cls).keys():  # what is declared reads its column itself
            _meta.fields[column] = Heavy(_meta.fields[column].type, column)
        Record.kinds.append(cls)

    @classmethod
    def visible(cls, info: Any) -> QuerySet[Any]:
        """What the actor may see, without the heavy columns."""
        rows: Any = cls._meta.model._default_manager
        visible: QuerySet[Any] = rows.visible_to(actor_of(info)).defer(*cls._meta.deferred)
        return visible

    @classmethod
    def get_node(cls, info: Any, id: Any) -> Any:
        row = cls.visible(info).filter(pk=id).first()
        return None if row is None else together([row]).rows[0]


class Part(DjangoObjectType):  # type: ignore[misc]  # graphene has no types
    """The type of a row that is read with the one it belongs to, and has no visibility of its own."""

    class Meta:
        abstract = True

    @classmethod
    def __init_subclass_with_meta__(cls, **options: Any) -> None:
        super().__init_subclass_with_meta__(convert_choices_to_enum=False, **options)

    @classmethod
    def visible(cls, info: Any) -> QuerySet[Any]:
        rows: QuerySet[Any] = cls._meta.model._default_manager.all()
        return rows


class Target(graphene.Field):  # type: ignore[misc]  # graphene has no types
    """The row that a foreign key points at; null also where the actor may not see it."""

    def __init__(self, type_: Any, key: str = "", **options: Any) -> None:
        self.key = key
        super().__init__(type_, resolver=self._resolve, **options)

    def _resolve(self, row: Any, info: Any) -> Any:
        kind = record_of(self.type)
        name = self.key or _snake(info.field_name)
        return target_of(row, name, lambda: kind.visible(info))


class Get(graphene.Field):  # type: ignore[misc]  # graphene has no types
    """One row: by its id, or by what `access(actor=, ref=)` understands."""

    def __init__(self, type_: Any, access: Callable[..., Any] | None = None, **options: Any) -> None:
        self.access = access
        meaning = "Its id." if access is None else "Its id, or a reference as over REST."
        super().__init__(type_, id=graphene.ID(required=True, description=meaning), resolver=self._resolve, **options)

    def _resolve(self, root: Any, info: Any, id: str) -> Any:
        kind = record_of(self.type)
        if self.access is not None:
            return together([self.access(actor=actor_of(info), ref=id)]).rows[0]
        key = _key_of(id)
        row = kind.get_node(info, key) if key else None
        if row is None:
            raise not_found(kind._meta.model)
        return row


def record_of(type_: Any) -> type[Record]:
    """The record type behind a type that may be required or lazy."""
    kind: type[Record] = getattr(type_, "of_type", type_)
    return kind


def add_field(kind: type[Record], name: str, field: graphene.Field) -> None:
    """Hook: give a lower app's type a field that leads up. To be called before the schema is built."""
    kind._meta.fields[name] = field


def any_row(*, actor: User, ref: str) -> Any:
    """The row with this id, in whatever table, if there is one for `actor`. Raises `NotFound` (`not_found`)."""
    key = _key_of(ref)
    kind = _kind_of(key) if key else None
    if key is None or kind is None:
        raise NotFound("not_found", _("There is no such row."))
    return access(kind._meta.model, actor=actor, id=key)


def _key_of(id: str) -> UUID | None:
    """The key that is spelled so; Python would also read `urn:uuid:...` and `{...}`, which no edge ever tells."""
    try:
        key = UUID(id)
    except ValueError:
        return None
    return key if str(key) == id.lower() else None


def _kind_of(key: UUID) -> type[Record] | None:
    """The type whose table has a row with this key: one query, a look-up by primary key per table."""
    kinds = [kind for kind in Record.kinds if kind._meta.model._meta.pk.get_internal_type() == "UUIDField"]
    parts = [
        kind._meta.model._base_manager.filter(pk=key)
        .order_by()
        .annotate(graphql_type=Value(kind._meta.name, output_field=CharField()))
        .values_list("graphql_type", flat=True)
        for kind in kinds
    ]
    name = next(iter(parts[0].union(*parts[1:], all=True)), None) if parts else None
    return next((kind for kind in kinds if kind._meta.name == name), None)


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
