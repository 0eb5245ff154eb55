"""Celery's side of imports: the doorbell and the sweeper."""

from __future__ import annotations

from celery import shared_task

from datasets.services import imports, uploads


@shared_task(name="datasets.work_imports")
def work_imports() -> None:
    """Something may be pending."""
    imports.work_imports()


@shared_task(name="datasets.sweep_imports")
def sweep_imports() -> None:
    """Look after what lost workers have left."""
    imports.sweep_imports()


@shared_task(name="datasets.discard_orphans")
def discard_orphans() -> None:
    """Remove uploaded files that no import ever got."""
    uploads.discard_orphans()
