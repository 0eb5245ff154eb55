"""Which demos a prompt version has, noted as rows for who looks for their use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from datasets.models import Example
from datasets.types import digest_of
from mlops.models import User
from mlops.services.history import save_with_history
from programs.models import Demo, PromptVersion
from programs.types import EXAMPLE_MARK


def save_prompt_version(version: PromptVersion, *, actor: User, reason: str) -> PromptVersion:
    """Save a new prompt version, with a row for each of its demos. An example that a demo names and that there is not
    is left out."""
    saved = save_with_history(version, actor=actor, reason=reason)
    named = [example_of(demo) for demo in saved.demos]
    known = set(Example.objects.filter(pk__in={key for key in named if key}).values_list("pk", flat=True))
    Demo.objects.bulk_create(
        Demo(
            prompt_version=saved,
            position=position,
            digest=digest_of_demo(demo),
            example_id=example if example in known else None,
        )
        for position, (demo, example) in enumerate(zip(saved.demos, named, strict=True))
    )
    return saved


def digest_of_demo(demo: Mapping[str, Any]) -> str:
    """The same for equal demos, whichever example they were made from."""
    return digest_of({name: value for name, value in demo.items() if name != EXAMPLE_MARK})


def example_of(demo: Mapping[str, Any]) -> UUID | None:
    """The id of the example that `demo` names as its origin, if it does."""
    try:
        return UUID(str(demo[EXAMPLE_MARK]))
    except (KeyError, ValueError):
        return None
