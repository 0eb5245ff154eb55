"""Composition root: settings, URLs, ASGI and Celery. No app imports it."""

from config.celery import app as celery_app

__all__ = ["celery_app"]
