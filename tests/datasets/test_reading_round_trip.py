"""What is written as CSV or TSV is read again as the same values, whatever the texts hold."""

from __future__ import annotations

import io
import random
from typing import Any

import pytest

from datasets.runtime.reading import Inference, ReadOptions, Record, examples_in, inference_for
from datasets.runtime.writing import DelimitedWriter, Fields, neutral
from datasets.types import FileFormat

PIECES = (
    "a", "007", "1e5", "true", "NaN", "-1", "é", "🙂", '"', '""', "'", ",", ";", "\t", "\n", "\r\n", "\r", " ", "\\",
    "=", "null", "[1]", "{}", "\u2028", "\x0b", "\x1c", "\N{BYTE ORDER MARK}",
)  # fmt: skip
TYPES = ("text", "whole", "fraction", "flag", "nested")


def value(kind: str, chance: random.Random) -> Any:
    if kind == "text":
        return "".join(chance.choices(PIECES, k=chance.randint(1, 6)))
    if kind == "whole":
        return chance.choice([0, -1, 7, 2**53, -(10**30)])
    if kind == "fraction":
        return chance.choice([0.1, -1.5e-9, 1e300, 3.0, 123456.789])
    if kind == "flag":
        return chance.random() < 0.5
    return chance.choice([[], {}, [None, "x,\ny"], {"a": [1, 2.5, {"b": "="}]}])


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("format", [FileFormat.CSV, FileFormat.TSV])
def test_delimited_files_lose_nothing_that_the_schema_types(format: FileFormat, seed: int) -> None:
    chance = random.Random(seed)
    rows = [
        {"id": number, **{kind: value(kind, chance) for kind in TYPES if chance.random() < 0.9}} for number in range(40)
    ]
    # a text that a spreadsheet would calculate gets an apostrophe: the one thing that is not the same again
    rows = [{name: neutral(item) if isinstance(item, str) else item for name, item in row.items()} for row in rows]
    inference, fields = Inference(is_text=False, declared={}), Fields()
    for row in rows:
        inference.add(row)
        fields.add(row)
    schema = {**inference.schema(), "additionalProperties": False}
    options = ReadOptions(format=format, schema=schema)
    writer = DelimitedWriter(fields.names(), options.separator)
    file = io.BytesIO(writer.begin() + writer.rows(rows) + writer.end())
    items = list(examples_in(file, options, inference_for(options).types()))
    assert [item.data for item in items if isinstance(item, Record)] == rows
    assert len(items) == len(rows)
