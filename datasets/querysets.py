"""Who may read datasets and corpora: admins and engineers all of them, an ml_user none."""

from __future__ import annotations

from typing import Any, Self

from datasets.types import VersionState
from mlops.querysets import ScopedQuerySet, Viewer


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

    def ready(self) -> Self:
        """Those whose content is all there."""
        return self.filter(state=VersionState.READY)


class DatasetQuerySet(VersionedQuerySet):
    pass


class CorpusQuerySet(VersionedQuerySet):
    pass


class ExampleQuerySet(ScopedQuerySet[Any]):
    def known_to(self, viewer: Viewer) -> Self:
        """Of a dataset that is being imported nothing can be seen."""
        return super().known_to(viewer).filter(dataset__state=VersionState.READY)


class PassageQuerySet(ScopedQuerySet[Any]):
    def known_to(self, viewer: Viewer) -> Self:
        return super().known_to(viewer).filter(corpus__state=VersionState.READY)


class ImportQuerySet(ScopedQuerySet[Any]):
    pass
