"""CPU time and memory of process trees: the system under test, without provider, generator, database and broker."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import psutil  # type: ignore[import-untyped]

_MIB = 1024 * 1024


def tree(pids: Iterable[int]) -> list[psutil.Process]:
    """The processes and all their living descendants."""
    roots = [psutil.Process(pid) for pid in pids]
    return roots + [child for root in roots for child in root.children(recursive=True)]


class CpuClock:
    """CPU time that a tree has used since the clock was made; processes that appear meanwhile are counted whole."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._pids = list(pids)
        self._before = self._read()

    def milliseconds(self) -> float:
        return 1000 * sum(used - self._before.get(pid, 0.0) for pid, used in self._read().items())

    def _read(self) -> dict[int, float]:
        return {process.pid: _cpu_seconds(process) for process in tree(self._pids)}


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def pss_mib(pids: Iterable[int]) -> float:
    """Proportional set size in MiB: pages that processes share are counted once."""
    return sum(_pss_kib(process.pid) for process in tree(pids)) / 1024


def _pss_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def rss_mib(pids: Iterable[int]) -> float:
    """Resident set size in MiB, summed over the tree."""
    return sum(float(process.memory_info().rss) for process in tree(pids)) / _MIB
