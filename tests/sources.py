"""The source files of this project, for the tests that read them."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
APPS = ("mlops", "datasets", "programs", "executions", "optimizations", "config")
LEFT_OUT = {".git", ".venv", "var", "staticfiles", "__pycache__", "results", ".hypothesis"}


def modules_of(package: str) -> list[Path]:
    """The Python files of `package`, migrations left out."""
    return sorted(path for path in (ROOT / package).rglob("*.py") if "migrations" not in path.parts)


def all_files() -> list[Path]:
    """Every file that belongs to the project, whether or not a version control system knows of it."""
    return sorted(_files_in(ROOT))


def _files_in(folder: Path) -> list[Path]:
    found: list[Path] = []
    for path in folder.iterdir():
        if path.name in LEFT_OUT or path.name.endswith("_cache") or path.is_symlink():
            continue
        found += _files_in(path) if path.is_dir() else [path]
    return found
