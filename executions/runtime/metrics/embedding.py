"""A language model of this installation as the embedder of a metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from executions.runtime.metrics.ports import Vector
from mlops.runtime.embeddings import aembed, embed
from mlops.types import LanguageModelSpec


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """Fills the port `Embedder`. What it uses is metered by the recorder that is open where it is asked."""

    spec: LanguageModelSpec

    def embed(self, texts: Sequence[str]) -> Sequence[Vector]:
        return list(embed(self.spec, texts).vectors)

    async def aembed(self, texts: Sequence[str]) -> Sequence[Vector]:
        return list((await aembed(self.spec, texts)).vectors)
