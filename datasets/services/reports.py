"""What is said of an import: how far it is, and what was wrong with the file."""

from __future__ import annotations

from typing import Any

from datasets.models import Import
from datasets.runtime.reading import RowProblem
from mlops.sanitiser import replace_unstorable

MAX_PROBLEMS = 1_000
MAX_DUPLICATES = 100


class Report:
    """The findings of one reading of a file: all are counted, the first ones are kept."""

    def __init__(self) -> None:
        self.rows = 0
        self.bad_rows = 0
        self.duplicates = 0
        self._last_bad: int | None = None
        self._problems: list[dict[str, Any]] = []
        self._first_duplicates: list[dict[str, int]] = []

    def add_problem(self, problem: RowProblem) -> None:
        """Problems come in the order of the file; those of one row count as one bad row."""
        if problem.line != self._last_bad:
            self.bad_rows += 1
            self._last_bad = problem.line
        if len(self._problems) < MAX_PROBLEMS:
            entry = {name: getattr(problem, name) for name in ("line", "field", "code", "message")}
            self._problems.append(replace_unstorable(entry)[0])

    def add_duplicate(self, line: int, first: int) -> None:
        """The record at `line` has the content of the one at `first`."""
        self.duplicates += 1
        if len(self._first_duplicates) < MAX_DUPLICATES:
            self._first_duplicates.append({"line": line, "duplicate_of": first})

    def as_json(self) -> dict[str, Any]:
        """`rows` is the number of records read, good and bad."""
        return {
            "rows": self.rows + self.bad_rows,
            "bad_rows": self.bad_rows,
            "problems": self._problems,
            "duplicates": {"count": self.duplicates, "first": self._first_duplicates},
        }


def progress_of(job: Import, *, step: int, rows: int, at: int) -> dict[str, Any]:
    """A job's progress: in the first of two steps the file is looked through, in the second its rows are stored."""
    return {"step": step, "steps": 2, "rows": rows, "bytes": min(at, job.file_size), "total_bytes": job.file_size}
