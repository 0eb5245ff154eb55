"""Reference *plain*: the shortest correct way to serve a DSPy program. It stores nothing and knows nobody.

PROVIDER_URL=http://127.0.0.1:9000/v1 uvicorn benchmarks.plain:app
"""

from __future__ import annotations

import os

import dspy
import fastapi
import pydantic


class Answering(dspy.Signature):  # type: ignore[misc]  # dspy ships no types
    """Answer the question."""

    question: str = dspy.InputField()
    answer: str = dspy.OutputField()


class Question(pydantic.BaseModel):
    question: str


program = dspy.ChainOfThought(Answering)
program.set_lm(dspy.LM("openai/stub", api_base=os.environ["PROVIDER_URL"], api_key="stub", cache=False))
app = fastapi.FastAPI()


@app.post("/")
async def answer(asked: Question) -> dict[str, str]:
    prediction = await program.acall(question=asked.question)
    return {"reasoning": prediction.reasoning, "answer": prediction.answer}
