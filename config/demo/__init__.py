"""The main job of the product, once and in full view: a stored program is executed, measured, improved and deployed.

Everything goes through the public verbs. Every step checks the rows that it claims to have made; the first that is not
as it should be ends the demonstration. That nothing was proven better is no failure: it is said, and nothing is
deployed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from config.celery import app
from config.demo.executing import Executing
from config.demo.improving import Improving
from config.demo.output import DemoFailed, Output, Page, write
from config.embedded import EmbeddedWorker
from config.sample.loading import Credentials, load_sample
from executions.services import process
from executions.services.process import ExecutionProcess
from mlops.errors import DomainError
from programs.models import Program

__all__ = ["DemoFailed", "Output", "first_run", "login_line", "main_job", "prepare"]


def first_run(stdout: Output) -> None:
    """On a database without programs: load the sample and do the main job, whoever has an account already."""
    if prepare(stdout):
        main_job(stdout)


def prepare(stdout: Output) -> bool:
    """Load the sample if there is no program yet, and write the admin's login if it was made now; whether it did."""
    if Program.objects.exists():
        return False
    write(stdout, "Loading the sample workspace.")
    credentials = load_sample(lambda line: write(stdout, f"  {line}"))
    if credentials is not None:
        write(stdout, f"  {login_line(credentials)}")
    return True


def login_line(credentials: Credentials) -> str:
    """The login, for the one time that it is shown."""
    return f"Log in as {credentials.username} with the password {credentials.password} (shown only now)."


def main_job(stdout: Output) -> bool:
    """Execute the sample's programs, improve one, and write each step with its figures; whether all of it worked."""
    page = Page(stdout)
    try:
        with working() as here:
            Executing(page, here).show()
            Improving(page).show()
    except DemoFailed as failure:
        write(stdout, f"FAILED: {failure}")
        return False
    except DomainError as refusal:
        write(stdout, f"FAILED: {refusal.message} ({refusal.code})")
        return False
    page.title(
        "Look at it in /admin/: the executions, both evaluations with every item, the optimization, the programs."
    )
    return True


@contextmanager
def working() -> Iterator[ExecutionProcess]:
    """The loop of this process. In the embedded installation a Celery worker inside of it takes what is pending; in any
    other the workers that run do."""
    here = process.ensure_started()
    if here.is_claiming or not settings.SIGNET_IS_EMBEDDED:
        yield here
        return
    worker = EmbeddedWorker(app)
    worker.start()
    try:
        yield here
    finally:
        worker.stop()
        process.stop_thread()
