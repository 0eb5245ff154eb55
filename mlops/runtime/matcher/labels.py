"""The labels of a field: where they come from and which words of the prompt describe them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from mlops.runtime.matcher.features import split_identifier
from mlops.runtime.matcher.fields import OutputField
from mlops.runtime.matcher.prompt import Task

_MAX_DESCRIPTION = 1500
_LINE_OR_SENTENCE = re.compile(r"\n|(?<=[.;])\s")
_DEFINES = re.compile(r"[\s`'\"*)]*[:,=(-]")
_LABEL_LINE = re.compile(r"^[-*•]?[ \t]*[`'\"*]*(\w[\w/ -]{0,40}?)[`'\"*]*\s*:\s+\S", re.M)
_ONE_OF = re.compile(r"\bone of:?\s+([^.\n]+)", re.I)
_MAX_LABEL_WORDS = 3
_MOST_NAMED_TOGETHER = 2


def words_of_labels(field: OutputField, task: Task, labels: Sequence[str]) -> list[str]:
    """For each label its own words and what the prompt says about it."""
    told = f"{field.description}\n{task.instructions}"
    patterns = [re.compile(rf"(?<![\w-]){re.escape(label)}(?![\w-])", re.I) for label in labels]
    lines = [line for line in _LINE_OR_SENTENCE.split(told) if line and not _is_listing(line, patterns)]
    described = [
        f"{split_identifier(label)} {_said_about(pattern, lines)}"
        for label, pattern in zip(labels, patterns, strict=True)
    ]
    if field.is_boolean and labels:
        name = f"{split_identifier(field.name)} {field.description}"
        return [f"{said} {name}" if label == "True" else said for said, label in zip(described, labels, strict=True)]
    return described


def _is_listing(line: str, patterns: Sequence[re.Pattern[str]]) -> bool:
    """A line that only lists the labels says nothing about any of them."""
    return bool(_ONE_OF.search(line)) or sum(bool(pattern.search(line)) for pattern in patterns) > _MOST_NAMED_TOGETHER


def _said_about(pattern: re.Pattern[str], lines: Sequence[str]) -> str:
    """`label: words`, or a sentence that names the label, without the label itself."""
    said = []
    for line in lines:
        if match := pattern.search(line):
            rest = line[match.end() :]
            said.append(rest if _DEFINES.match(rest) else line[: match.start()] + rest)
    return " ".join(said)[:_MAX_DESCRIPTION]


def labels_in_words(field: OutputField, task: Task) -> tuple[str, ...]:
    """Labels that a plain text field names in words: "one of: a, b" or at least two lines `label: words`."""
    told = f"{field.description}\n{task.instructions}"
    if match := _ONE_OF.search(told):
        listed = [part.strip(" `'\"()") for part in re.split(r",\s*(?:or\s+)?|\s+or\s+|\s*[|;/]\s*", match.group(1))]
        if len(listed) >= 2 and all(0 < len(label.split()) <= _MAX_LABEL_WORDS for label in listed):
            return tuple(dict.fromkeys(listed))
    lines = [label for label in _LABEL_LINE.findall(told) if len(label.split()) <= _MAX_LABEL_WORDS]
    return tuple(dict.fromkeys(lines)) if len(set(lines)) >= 2 else ()


def listed_labels(value: str) -> list[str]:
    """The labels in a demo's list, as the adapters write lists; [] for anything else."""
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return []
    return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []
