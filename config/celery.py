"""The Celery application: queues `ml_inference` and `ml_training`, settings from Django."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.contrib.django.task import DjangoTask

from mlops.origin import Edge, Origin, acting

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")


class Task(DjangoTask):  # type: ignore[type-arg]  # celery is not generic at run time
    """What a task changes comes from it; its id stands where that of a request would."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with acting(Origin(Edge.TASK, self.request.id or "")):
            return super().__call__(*args, **kwargs)


app = Celery("signet", task_cls="config.celery:Task")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
