"""The candidates of a compile: numbered as they are found, the best one kept, progress told."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from optimizations.runtime.guard import Guard, Spent
from optimizations.runtime.ports import CompilePorts
from optimizations.types import CandidateFound, CandidateState, CompileProgress, ScoredOn

BASELINE = "baseline"
"""The label of a candidate that is the program as it came."""

_PROGRESS_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Found:
    """A state with its score, as an optimizer shows it."""

    state: CandidateState
    label: str
    score: float | None = None
    n: int = 0
    scored_on: ScoredOn = ScoredOn.NOTHING
    is_partial: bool = False


class Candidates:
    """What was found so far. Numbers begin with 0 and depend on nothing but the order of finding."""

    def __init__(
        self, baseline: CandidateState, guard: Guard, ports: CompilePorts, *, total: int | None, scores_total: int
    ) -> None:
        self.count = 0
        self.best: CandidateFound | None = None
        self._baseline = baseline.digest()
        self._guard, self._ports = guard, ports
        self._total, self._scores_total = total, scores_total
        self._by_digest: dict[str, CandidateFound] = {}
        self._before: tuple[Spent, float] = (Spent(), 0.0)
        self._scores = 0
        self._told_at = float("-inf")
        self._lock = threading.RLock()

    def __contains__(self, digest: str) -> bool:
        return digest in self._by_digest

    def add(self, found: Found) -> CandidateFound:
        """Number a candidate, keep it if it is the best, and tell of it."""
        with self._lock:
            candidate = self._numbered(found)
            known = self._by_digest.get(candidate.digest)
            self._by_digest[candidate.digest] = candidate if known is None else max(known, candidate, key=_rank)
            if candidate.score is not None and (self.best is None or _rank(candidate) > _rank(self.best)):
                self.best = candidate
            self._guard.through(self._ports.on_candidate, candidate)
            self.tell("searching", at_once=True)
        return candidate

    def returned(self, state: CandidateState) -> CandidateFound:
        """The candidate that the optimizer returned in the end: one of those found, or a further one."""
        known = self._by_digest.get(state.digest())
        self.best = known or self.add(Found(state, "result"))
        return self.best

    def scored(self) -> None:
        """One more output was scored."""
        with self._lock:
            self._scores += 1
            self.tell("searching")

    def tell(self, phase: str, *, at_once: bool = False) -> None:
        """Tell of the progress, but not more than once a second unless there is news."""
        with self._lock:
            seconds = self._guard.seconds
            if at_once or seconds - self._told_at >= _PROGRESS_EVERY_S:
                self._told_at = seconds
                self._guard.through(self._ports.on_progress, self._progress(phase, seconds))

    def _progress(self, phase: str, seconds: float) -> CompileProgress:
        spent = self._guard.spent
        left = max(self._scores_total - self._scores, 0)
        return CompileProgress(
            phase=phase,
            done=self._scores,
            total=max(self._scores_total, self._scores),
            candidates=self.count,
            candidates_total=self._total,
            best_score=self.best.score if self.best else None,
            calls=spent.calls,
            tokens=spent.usage.total,
            cost=spent.cost,
            seconds=seconds,
            seconds_left=seconds / self._scores * left if self._scores else None,
        )

    def _numbered(self, found: Found) -> CandidateFound:
        digest = found.state.digest()
        spent, seconds = self._guard.spent, self._guard.seconds
        since = spent.since(self._before[0])
        candidate = CandidateFound(
            number=self.count,
            label=BASELINE if digest == self._baseline else found.label,
            state=found.state,
            digest=digest,
            score=found.score,
            n=found.n,
            scored_on=found.scored_on,
            is_partial=found.is_partial,
            calls=since.calls,
            usage=since.usage,
            cost=since.cost,
            seconds=seconds - self._before[1],
        )
        self._before = spent, seconds
        self.count += 1
        return candidate


def _rank(candidate: CandidateFound) -> tuple[bool, int, float, int]:
    """Better is greater: a score over the whole set beats every partial one, of equal scores the first one found."""
    if candidate.is_partial or candidate.score is None:
        return False, candidate.n, candidate.score or 0.0, -candidate.number
    return True, 0, candidate.score, -candidate.number
