"""What the matcher must not pretend to do, told from the names, types and wording of a request."""

from __future__ import annotations

import re

from mlops.runtime.matcher.errors import CannotMatch
from mlops.runtime.matcher.fields import Kind, OutputField
from mlops.runtime.matcher.prompt import Task

_OPTIMIZER_FIELDS = re.compile(
    r"proposed_|new_instruction|(improved|shortened|revised)_|instruction(s)?$|prefix_for_|natural_language_rules"
    r"|observations$|(program|module|dataset)_(description|summary)|(module_)?advice$"
)
_TOOL_FIELDS = re.compile(r"next_tool_|next_thought$|tool_calls?$|action_\d+$")
_CODE_FIELDS = re.compile(r"(^|_)(code|sql|script|regex|program|python)(_|$)")
_LONG_TEXT_FIELDS = re.compile(
    r"(^|_)(summary|summaries|translation|translated|essay|story|poem|article|draft|paraphrase|rewrite|rewritten)(_|$)"
)
_LONG_TEXT_ORDERS = re.compile(r"\b(summari[sz]e|translate|paraphrase|rewrite|rephrase)\b", re.I)
_CODE_ORDERS = re.compile(
    r"\b(write|generate|implement|produce)\b[^.\n]{0,60}"
    r"\b(code|function|program|script|sql|regex|regular expression)\b",
    re.I,
)
_JUDGED_INPUTS = re.compile(
    r"(^|_)(system_response|ground_truth|gold|reference_answer|expected(_answer|_output)?|candidate(_answer)?|rubric"
    r"|predicted(_answer)?|prediction|completion|model_output|student_answer|reasoning_attempt_\d+|response_[ab12])$"
)
_JUDGE_FIELDS = re.compile(
    r"(^|_)(judg(e)?ment|verdict|critique|precision|recall|groundedness|faithful(ness)?|completeness|is_correct"
    r"|correctness|grade|feedback|assessment_answer)$"
)
_JUDGE_ORDERS = re.compile(
    r"\b(judge|grade|evaluate|assess|critique|compare)\b[^.\n]{0,60}\b(answer|response|output|prediction|completion)s?\b",
    re.I,
)
_OPERATION = re.compile(
    r"\d\s*[+*\u00d7\u00f7^]\s*\d|\d\s+[-/]\s+\d|\d\s*%\s*of\s+\d"
    r"|\d\s*(times|plus|minus|divided by|multiplied by|to the power of|percent of)\s+\d",
    re.I,
)
_COMPUTE_ORDER = re.compile(
    r"\b(calculate|compute|add up|sum of|product of|difference between|square root|multiply|divide|subtract)\b", re.I
)
_TOTAL_QUESTION = re.compile(
    r"\b(how (many|much|old|far|long)|in total|altogether|what is the (total|average|sum))\b", re.I
)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")

_NO_CODE = "it writes no code."
_NO_PROSE = "it writes no text of its own, such as summaries or translations."
_TYPE_REASONS = {
    Kind.OBJECT: "it builds no objects.",
    Kind.LIST_OF_OTHERS: "it builds no lists of objects or numbers, only lists of labels.",
    Kind.CODE: _NO_CODE,
    Kind.TOOL_CALLS: "it calls no tools and takes no ReAct steps.",
}


def refuse_task(task: Task) -> None:
    """Raises CannotMatch, naming the first output field that the matcher cannot fill for any input."""
    if not task.outputs:
        raise CannotMatch("the prompt lists no output fields.")
    for field in task.outputs.values():
        reason = _reason_by_name(field, task) or _reason_by_type(field)
        if reason:
            raise CannotMatch(reason, field=field.name)
    if all(field.kind is Kind.REASONING for field in task.outputs.values()):
        raise CannotMatch("it gives reasons only for answers to other fields.", field=next(iter(task.outputs)))


def _reason_by_type(field: OutputField) -> str | None:
    if field.kind is Kind.OTHER:
        return f"it does not know the type {field.type_name[:80]}."
    return _TYPE_REASONS.get(field.kind)


def _reason_by_name(field: OutputField, task: Task) -> str | None:
    told = f"{field.description}\n{task.instructions}"
    is_open = field.kind is Kind.TEXT
    if _TOOL_FIELDS.search(field.name):
        return "it calls no tools and takes no ReAct steps."
    if field.kind in (Kind.TEXT, Kind.OBJECT) and _OPTIMIZER_FIELDS.search(field.name):
        return "it proposes no instructions or advice for optimizers."
    if is_open and _CODE_FIELDS.search(field.name):
        return _NO_CODE
    if is_open and _LONG_TEXT_FIELDS.search(field.name):
        return _NO_PROSE
    if field.kind is not Kind.REASONING and _is_judging(field, task, told):
        return "it judges no answers."
    return None


def _is_judging(field: OutputField, task: Task, told: str) -> bool:
    judged = sum(bool(_JUDGED_INPUTS.search(name)) for name in task.inputs)
    return bool(_JUDGE_FIELDS.search(field.name)) or judged >= 2 or bool(judged and _JUDGE_ORDERS.search(told))


def refuse_prose(field: OutputField, task: Task, question: str) -> None:
    """Raises CannotMatch when the instructions or the question order code or a text that must be composed."""
    told = f"{field.description}\n{task.instructions}\n{question}"
    if _CODE_ORDERS.search(told):
        raise CannotMatch(_NO_CODE, field=field.name)
    if _LONG_TEXT_ORDERS.search(told):
        raise CannotMatch(_NO_PROSE, field=field.name)


def refuse_arithmetic(field: OutputField, question: str, *, has_context: bool) -> None:
    """Raises CannotMatch when the question asks to compute. With a context to copy from, "how many" is a fair one."""
    numbers = len(_NUMBER.findall(question))
    asks = _OPERATION.search(question) or (numbers >= 1 and _COMPUTE_ORDER.search(question))
    if asks or (not has_context and numbers >= 2 and _TOTAL_QUESTION.search(question)):
        raise CannotMatch("the question asks to compute, and it does no arithmetic.", field=field.name)
