"""Celery's side of executions: the doorbell, the sweeper, and the step that makes a worker claim executions."""

from __future__ import annotations

from typing import Any

from celery import bootsteps, shared_task

from executions.services import evaluations, process, repricing
from executions.services.leases import sweep
from executions.services.usage import count_usage

INFERENCE_QUEUE = "ml_inference"


@shared_task(name="executions.wake")
def wake() -> None:
    """Something may be pending: let this worker's loop look at once."""
    if here := process.present():
        here.wake()


@shared_task(name="executions.sweep")
def sweep_executions() -> None:
    """Hand back what nobody looks after, and ring for what is pending."""
    sweep()
    if here := process.present():
        here.wake()


@shared_task(name="executions.work_evaluations")
def work_evaluations() -> None:
    """Shards of evaluations may be pending: let this worker's loop look at once."""
    evaluations.wake()


@shared_task(name="executions.sweep_evaluations")
def sweep_evaluations() -> None:
    """Hand back the shards of lost workers, end what only waits for its end, and ring for what is pending."""
    evaluations.sweep_evaluations()


@shared_task(name="executions.work_repricings")
def work_repricings() -> None:
    """Repricings may be pending."""
    repricing.work_repricings()


@shared_task(name="executions.sweep_repricings")
def sweep_repricings() -> None:
    """Hand back the repricings of lost workers, and ring for what is pending."""
    repricing.sweep_repricings()


@shared_task(name="executions.count_usage")
def count_what_ended() -> None:
    """Add what has ended to the usage of its day."""
    count_usage()


class ClaimExecutions(bootsteps.StartStopStep):
    """A worker of the queue `ml_inference` claims executions on the event loop of its process.

    In the embedded server that loop is the web server's; elsewhere it is a thread of the worker, which must not fork
    (`--pool threads`), since its tasks have to reach it.
    """

    requires = ("celery.worker.components:Pool",)

    def include_if(self, worker: Any) -> bool:
        return INFERENCE_QUEUE in worker.app.amqp.queues.consume_from

    def start(self, worker: Any) -> None:
        here = process.ensure_started()
        process.settle_heap()
        here.submit(here.begin_claiming()).result()

    def stop(self, worker: Any) -> None:
        if here := process.present():
            here.submit(here.end_claiming()).result()
        process.stop_thread()
