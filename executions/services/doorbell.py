"""The doorbell: one Celery message tells the workers that executions are pending, however many were stored.

The row is the queue; a message that is lost costs at most the second after which workers look by themselves.
"""

from __future__ import annotations

import logging
import threading

from celery import current_app
from kombu.exceptions import OperationalError

logger = logging.getLogger(__name__)

TASK = "executions.wake"


class Doorbell:
    """Sends `TASK` from a thread of its own, so that a slow or absent broker holds nobody up.

    What is rung while a message is on its way goes into the next one.
    """

    def __init__(self) -> None:
        self._rung = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def ring(self) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._send, name="doorbell", daemon=True)
                self._thread.start()
        self._rung.set()

    def _send(self) -> None:
        while True:
            self._rung.wait()
            self._rung.clear()
            try:
                current_app.send_task(TASK, queue="ml_inference", expires=10, retry=False, ignore_result=True)
            except OperationalError:
                logger.warning("The broker does not answer; workers will find pending executions by themselves")


_doorbell = Doorbell()
ring = _doorbell.ring
