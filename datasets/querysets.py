"""Who may read datasets and corpora: admins and engineers all of them, an ml_user none."""

from __future__ import annotations

from typing import Any, Self

from mlops.querysets import ScopedQuerySet


class VersionedQuerySet(ScopedQuerySet[Any]):
    """Rows that are versions of a name."""

    def latest_version(self, **identity: str) -> Any | None:
        """The newest row of an identity such as `name="triage", type="test"`, or None."""
        return self.filter(**identity).order_by("-version").first()

    def next_version(self, **identity: str) -> int:
        latest = self.latest_version(**identity)
        return latest.version + 1 if latest else 1

    def unfrozen(self) -> Self:
        return self.filter(frozen_at=None)


class DatasetQuerySet(VersionedQuerySet):
    pass


class CorpusQuerySet(VersionedQuerySet):
    pass


class ExampleQuerySet(ScopedQuerySet[Any]):
    pass


class PassageQuerySet(ScopedQuerySet[Any]):
    pass
