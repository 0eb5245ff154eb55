import dspy
from django.conf import settings
from django.utils import timezone

from benchmarks.naive.celery import app
from benchmarks.naive.models import Execution


class Answering(dspy.Signature):
    """Answer the question."""

    question: str = dspy.InputField()
    answer: str = dspy.OutputField()


program = dspy.ChainOfThought(Answering)
program.set_lm(dspy.LM("openai/stub", api_base=settings.PROVIDER_URL, api_key="stub", cache=False))


@app.task
def run(execution_id: int) -> None:
    execution = Execution.objects.get(pk=execution_id)
    execution.state = "running"
    execution.save()
    execution.output = dict(program(question=execution.question).items())
    execution.state = "completed"
    execution.finished_at = timezone.now()
    execution.save()
