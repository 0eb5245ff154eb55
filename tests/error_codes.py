"""The error codes that the code can answer, read from its source, and the page of the documents that lists them.

`python -m tests.error_codes > docs/errors.md` writes the page (`make snapshot`); a test compares.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from mlops.types import ModelErrorCode
from tests.sources import APPS, modules_of

HEADINGS = {
    "Invalid": "400: what was sent cannot be accepted",
    "Unauthenticated": "401: nobody is known to be asking",
    "InsufficientCredits": "402: credits do not cover the work",
    "Forbidden": "403: you see the row but may not do this to it",
    "NotFound": "404: there is no such row, or you may not know of it",
    "Conflict": "409: the row's present state does not allow this",
    "Stale": "412: somebody was faster",
    "TooLarge": "413: more was sent than is accepted",
    "TooMany": "429: more was asked for at once, or in this while, than is allowed",
    "Unavailable": "503: nothing is wrong with the request; repeat it after a while",
    "Problem": "What is wrong with one field (`errors[].code`)",
    "RunError": "Why an execution failed (`error.code` of the execution)",
    "RowProblem": "Why a row of an imported file is refused (`report.problems[].code` of the import)",
}

POSITIONS = {
    "RowProblem": ("line", "field", "code", "message"),
    "UnreadableFile": ("line", "code", "message", "field"),
    "all_of": (),
}
"""What is given by position, where that is not code and message."""

OF_MODELS = {
    ModelErrorCode.RATE_LIMITED: "The provider refused for too many requests, retries included.",
    ModelErrorCode.PROVIDER_UNAVAILABLE: "The provider did not answer, or answered that it cannot.",
    ModelErrorCode.TIMEOUT: "The model did not answer within its deadline.",
    ModelErrorCode.AUTHENTICATION: "The provider does not accept the secret of the language model.",
    ModelErrorCode.CONTEXT_WINDOW: "The prompt is longer than the model reads.",
    ModelErrorCode.INVALID_REQUEST: "The provider, or the example matcher, cannot do what is asked.",
    ModelErrorCode.PROVIDER_REFUSED: "The provider is none that may be called, see docs/security.md.",
    ModelErrorCode.UNPARSABLE_OUTPUT: "The model's answer does not fit the signature.",
    ModelErrorCode.UNKNOWN: "Anything else that went wrong while the model was called.",
}
"""How a call of a language model fails, whatever the provider calls it."""

INTRODUCTION = """# Error codes

Generated from the source by `make snapshot`. Codes never change; messages are for people and may be translated.

REST answers `application/problem+json` (RFC 9457) with `code`, and with `errors: [{field, code, message}]` where single
fields are wrong; a service raises a subclass of `mlops.errors.DomainError` with the same code; the admin shows the
message. `<...>` stands for a word that depends on the row: `program_deploy_forbidden`.
"""


@dataclass(frozen=True, slots=True, order=True)
class Code:
    kind: str
    code: str
    message: str = ""


def codes_in_use() -> list[Code]:
    """Every code with the first message it is raised with, in the order of the page."""
    trees = [ast.parse(path.read_text()) for app in APPS for path in modules_of(app)]
    kinds = _kinds(trees)
    first: dict[tuple[str, str], Code] = {
        ("RunError", code.value): Code("RunError", code.value, message) for code, message in OF_MODELS.items()
    }
    for found in (code for tree in trees for code in _codes_in(tree, kinds)):
        known = first.get((found.kind, found.code))
        if known is None or (found.message and not known.message):
            first[found.kind, found.code] = found
    return sorted(first.values(), key=lambda code: (list(HEADINGS).index(code.kind), code.code))


def page() -> str:
    """The Markdown of docs/errors.md."""
    lines, heading = [INTRODUCTION], ""
    for code in codes_in_use():
        if HEADINGS[code.kind] != heading:
            heading = HEADINGS[code.kind]
            lines.append(f"\n## {heading}\n\n| code | says |\n|---|---|\n")
        lines.append(f"| `{code.code}` | {code.message.replace('|', chr(92) + '|')} |\n")
    return "".join(lines)


def _kinds(trees: list[ast.Module]) -> dict[str, str]:
    """Class name -> the kind it is a case of; subclasses count as their base."""
    kinds = {kind: kind for kind in HEADINGS}
    kinds |= {"all_of": "Invalid", "UnreadableFile": "RowProblem", "WrongType": "RowProblem"}
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    for _round in range(3):
        for node in classes:
            for base in node.bases:
                if isinstance(base, ast.Name) and base.id in kinds:
                    kinds.setdefault(node.name, kinds[base.id])
    return kinds


def _codes_in(tree: ast.Module, kinds: dict[str, str]) -> Iterator[Code]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if name in kinds:
            given = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
            positions = POSITIONS.get(name, ("code", "message"))
            positional: dict[str, ast.expr] = dict(zip(positions, node.args, strict=False))
            arguments = {**positional, **given}
            if code := _text(arguments.get("code")):
                yield Code(kinds[name], code, _text(arguments.get("message")))


def _text(node: ast.expr | None) -> str:
    """A literal, a template with `<...>` for what is filled in, the text inside `_()`; "" for anything computed."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(
                str(part.value) if isinstance(part, ast.Constant) else f"<{_last_word(part)}>" for part in parts
            )
        case ast.BinOp(left=left, op=ast.Mod() | ast.Add()):
            return _text(left)
        case ast.Call(func=ast.Name(id="_" | "gettext" | "gettext_lazy"), args=[argument, *_rest]):
            return _text(argument)
        case _:
            return ""


def _last_word(part: ast.expr) -> str:
    words = [node for node in ast.walk(part) if isinstance(node, ast.Name | ast.Attribute)]
    last = words[0] if words else None
    return last.attr if isinstance(last, ast.Attribute) else last.id if isinstance(last, ast.Name) else "..."


if __name__ == "__main__":
    sys.stdout.write(page())
