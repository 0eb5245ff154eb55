"""Fill a database with executions that have ended, quickly: for benchmarks and tests of what is read from many of them.

    SIGNET_DATA_DIR=full python -m benchmarks.fill_executions 1000000 --days 90

The database makes the rows, past every production path, and the same ones for the same number: over programs with two
versions, prompt sets of two prompt versions, people with habits of their own, one or two language models with prices,
all ends, unknown costs, and durations from milliseconds to seconds. It is the database of the environment, migrated. A
further call adds to what is there.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from programs.models import Program

PROGRAMS, USERS = 12, 60
HABITS = 3
"""How many prompt sets one person uses."""

MODELS = (("openai/filled-small", 150_000, 600_000), ("openai/filled-large", 2_500_000, 10_000_000),
          ("anthropic/filled", 800_000, 4_000_000), ("mistral/filled", 200_000, 600_000))  # fmt: skip
"""Name, and pico-dollars per input and output token."""

CHUNK = 100_000
MS_PER_DAY = 86_400_000

# `random` numbers are below 65,521. A fifth uses a second model, for a quarter of the tokens of the first.
NUMBERS = """
    random AS (
        SELECT n, n * 7919 %% 65521 AS a, n * 104729 %% 65521 AS b, n * 1299709 %% 65521 AS c,
            n * 15485863 %% 65521 AS d, n * 32452843 %% 65521 AS e
        FROM numbers
    ), chosen AS (
        SELECT random.*, b < 65000 AS ran, e %% 5 = 0 AS used_two,
            CAST(%s - (%s - n) * %s AS bigint) AS began_ms,
            CASE WHEN b < 61000 THEN 'completed' WHEN b < 64500 THEN 'failed' ELSE 'cancelled' END AS state,
            a * a / 65521 * %s / 65521 AS person,
            200 + c %% 1500 AS tokens_in,
            20 + d %% 400 AS tokens_out,
            20 + 4000.0 * d / 65521 * e / 65521 * e / 65521 AS duration_ms
        FROM random
    )
"""
JOINED = """
    FROM chosen
    JOIN people ON people.n = chosen.person
    JOIN sets ON sets.n = (chosen.person * 7 + chosen.c %% %s) %% %s
    JOIN models AS one ON one.n = sets.n %% %s
    JOIN models AS two ON two.n = (sets.n + 1) %% %s
"""


class PostgreSQL:
    numbers = "SELECT n FROM generate_series(%s::bigint, %s::bigint) AS g (n)"
    json_object = "jsonb_build_object"
    json_array = "jsonb_build_array"

    def hexadecimal(self, value: str, digits: int) -> str:
        return f"lpad(to_hex({value}), {digits}, '0')"

    def moment(self, ms: str) -> str:
        return f"to_timestamp(({ms}) / 1000.0)"

    def key(self, value: str) -> str:
        return f"CAST({value} AS uuid)"


class SQLite:
    numbers = "SELECT %s AS n, %s AS last UNION ALL SELECT n + 1, last FROM numbers WHERE n < last"
    json_object = "json_object"
    json_array = "json_array"

    def hexadecimal(self, value: str, digits: int) -> str:
        return f"printf('%%0{digits}x', {value})"

    def moment(self, ms: str) -> str:
        return f"strftime('%%Y-%%m-%%d %%H:%%M:%%f', ({ms}) / 1000.0, 'unixepoch')"

    def key(self, value: str) -> str:
        return value


def main() -> int:
    parser = argparse.ArgumentParser(description="fill a database with executions")
    parser.add_argument("executions", type=int)
    parser.add_argument("--days", type=int, default=90, help="over which they are spread, up to an hour ago")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    import django  # noqa: PLC0415  # the environment is read when it is imported

    django.setup()
    began = time.perf_counter()
    fill_executions(options.executions, days=options.days)
    print(f"{options.executions} executions in {time.perf_counter() - began:.1f} s")
    return 0


def fill_executions(count: int, *, days: int = 90) -> None:
    """Add `count` ended executions, which the usage has not counted yet."""
    from django.db import connection, transaction  # noqa: PLC0415

    statement, parameters = _statement(count, days)
    for first in range(1, count + 1, CHUNK):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement, [first, min(first + CHUNK - 1, count), *parameters])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def _statement(count: int, days: int) -> tuple[str, list[Any]]:
    """The INSERT of the executions from one number to another, and its parameters after those two."""
    from django.db import connection  # noqa: PLC0415

    from executions.models import Execution  # noqa: PLC0415

    sql = PostgreSQL() if connection.vendor == "postgresql" else SQLite()
    tables = {"people (n, user_id)": _users(), "sets (n, prompt_set_id, program_id)": list(_sets()),
              "models (n, name, price, input_price, output_price)": list(_models())}  # fmt: skip
    users, sets, models = map(len, tables.values())
    columns = _columns(sql, Execution.objects.count() % 2**24)
    constant = [field for field in Execution._meta.concrete_fields if field.column not in columns]
    names = [*columns, *(field.column for field in constant)]
    statement = f"""
        WITH RECURSIVE numbers AS ({sql.numbers}),
        {", ".join(f"{name} AS (VALUES {_places(rows)})" for name, rows in tables.items())}, {NUMBERS}
        INSERT INTO {Execution._meta.db_table} ({", ".join(f'"{name}"' for name in names)})
        SELECT {", ".join([*columns.values(), *["%s"] * len(constant)])} {JOINED}
    """
    last_ms = int(datetime.now(UTC).timestamp() * 1000) - MS_PER_DAY // 24
    given = [_adapted(value) for rows in tables.values() for n, row in enumerate(rows) for value in (n, *row)]
    given += [last_ms, count, days * MS_PER_DAY / count, users]
    given += [field.get_db_prep_save(field.get_default(), connection) for field in constant]
    return statement, [*given, HABITS, sets, models, models]


def _columns(sql: PostgreSQL | SQLite, run: int) -> dict[str, str]:
    """What is not the same for all of them, by column; `run` tells the rows of repeated fills apart."""
    second_in, second_out = "chosen.tokens_in / 4", "chosen.tokens_out / 4"
    one = _lines(sql, "chosen.tokens_in", "chosen.tokens_out")
    two = _lines(sql, second_in, second_out)
    both = _lines(sql, f"chosen.tokens_in + {second_in}", f"chosen.tokens_out + {second_out}", requests=2)
    of_one = f"{sql.json_object}({one}, 'by_model', {sql.json_object}(one.name, {sql.json_object}({one})))"
    of_two = (
        f"{sql.json_object}({both}, 'by_model', "
        f"{sql.json_object}(one.name, {sql.json_object}({one}), two.name, {sql.json_object}({two})))"
    )
    tokens = f"chosen.tokens_in + chosen.tokens_out + CASE WHEN used_two THEN {second_in} + {second_out} ELSE 0 END"
    cost = (
        "chosen.tokens_in * one.input_price + chosen.tokens_out * one.output_price + CASE WHEN used_two "
        f"THEN {second_in} * two.input_price + {second_out} * two.output_price ELSE 0 END"
    )
    span = f"{sql.json_object}('id', 0, 'kind', 'module', 'name', 'answer', 'duration_ms', chosen.duration_ms)"
    identity = (
        f"{sql.hexadecimal('began_ms', 12)} || '7' || {sql.hexadecimal('a %% 4096', 3)} || '8' || "
        f"{sql.hexadecimal(str(run), 7)} || {sql.hexadecimal('chosen.n', 8)}"
    )
    return {
        "id": sql.key(identity),
        "user_id": sql.key("people.user_id"),
        "program_id": sql.key("sets.program_id"),
        "prompt_set_id": sql.key("sets.prompt_set_id"),
        "mode": "CASE WHEN a %% 3 = 0 THEN 'async' ELSE 'sync' END",
        "source": "CASE WHEN a %% 7 = 0 THEN 'admin' ELSE 'rest' END",
        "input": f"{sql.json_object}('question', 'What is ' || chosen.n || '?')",
        "output": f"CASE WHEN state = 'completed' THEN {sql.json_object}('answer', 'It is ' || a || '.') END",
        "trace": f"{sql.json_object}('spans', {sql.json_array}({span}), 'dropped', 0)",
        "error_code": "CASE WHEN state = 'failed' THEN 'timeout' ELSE '' END",
        "error_message": "CASE WHEN state = 'failed' THEN 'The model did not answer.' ELSE '' END",
        "token_usage": f"CASE WHEN NOT ran THEN {sql.json_object}() WHEN used_two THEN {of_two} ELSE {of_one} END",
        "total_tokens": f"CASE WHEN ran THEN {tokens} ELSE 0 END",
        "cost": f"CASE WHEN ran AND c %% 50 <> 0 THEN {cost} END",
        "prices": f"{sql.json_array}(one.price, CASE WHEN used_two THEN two.price ELSE one.price END)",
        "language_models": f"{sql.json_object}(one.name, {sql.json_object}('temperature', 0))",
        "credits_used": "CASE WHEN ran THEN a ELSE 0 END",
        "duration_ms": "CASE WHEN ran THEN chosen.duration_ms END",
        "waited_ms": "CASE WHEN ran THEN chosen.duration_ms - 5 END",
        "state": "state",
        "revision": "3",
        "attempt": "CASE WHEN ran THEN 1 ELSE 0 END",
        "created_at": sql.moment("began_ms"),
        "started_at": f"CASE WHEN ran THEN {sql.moment('began_ms')} END",
        "finished_at": sql.moment("began_ms + chosen.duration_ms"),
    }


def _lines(sql: PostgreSQL | SQLite, read: str, written: str, requests: int = 1) -> str:
    lines = {"total": f"{read} + {written}", "input": read, "output": written, "cached": f"({read}) / 4",
             "reasoning": f"({written}) / 10", "cache_write": "0", "requests": str(requests)}  # fmt: skip
    return ", ".join(f"'{name}', {value}" for name, value in lines.items())


def _users() -> list[tuple[Any, ...]]:
    from mlops.models import User  # noqa: PLC0415

    return [(User.objects.get_or_create(username=f"filled-{number}")[0].pk,) for number in range(USERS)]


def _models() -> Iterator[tuple[Any, ...]]:
    from mlops.models import LanguageModel, ModelPrice  # noqa: PLC0415

    since = datetime(2020, 1, 1, tzinfo=UTC)
    for name, read, written in MODELS:
        model, _ = LanguageModel.objects.get_or_create(name=name)
        prices = {"input_price": read, "cached_input_price": read, "output_price": written}
        price, _ = ModelPrice.objects.get_or_create(model=model, valid_from=since, defaults=prices)
        yield name, str(price.pk), read, written


def _sets() -> Iterator[tuple[Any, ...]]:
    """Two prompt sets of each of two versions of every program; the newer version is the one in production."""
    from programs.models import Program  # noqa: PLC0415

    for number in range(PROGRAMS):
        for version, status in ((1, "archived"), (2, "production")):
            program, is_new = Program.objects.get_or_create(
                name=f"filled-{number}", version=version, defaults={"status": status}
            )
            if is_new:
                _make_sets(program)
            yield from ((key, program.pk) for key in program.prompt_sets.order_by("id").values_list("pk", flat=True))


def _make_sets(program: Program) -> None:
    from programs.models import Module, PromptSet, PromptVersion, Signature, SignatureField  # noqa: PLC0415

    signature, is_new = Signature.objects.get_or_create(name="filled", version=1)
    if is_new:
        for position, (name, is_input) in enumerate((("question", True), ("answer", False))):
            SignatureField.objects.create(signature=signature, name=name, is_input=is_input, position=position)
    modules = [Module.objects.create(program=program, key=key, signature=signature) for key in ("read", "answer")]
    for name in ("first", "second"):
        prompt_set = PromptSet.objects.create(program=program, digest=f"{program.pk} {name}")
        demos = [{"question": f"{name}?", "answer": name}]
        prompt_set.versions.set(
            PromptVersion.objects.create(module=module, version=name, prompt_template="Answer.", demos=demos)
            for module in modules
        )


def _places(rows: Sequence[tuple[Any, ...]]) -> str:
    one = f"({', '.join(['%s'] * (len(rows[0]) + 1))})"
    return ", ".join([one] * len(rows))


def _adapted(value: Any) -> Any:
    """A key as text, in the form in which the database keeps it."""
    from django.db import connection  # noqa: PLC0415

    if not hasattr(value, "hex") or isinstance(value, float):
        return value
    return str(value) if connection.vendor == "postgresql" else value.hex


if __name__ == "__main__":
    raise SystemExit(main())
