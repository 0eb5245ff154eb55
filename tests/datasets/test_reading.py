"""Files of examples as they are read: what comes out, what is refused, and where."""

from __future__ import annotations

import io
import itertools
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from datasets.runtime.reading import (
    ReadOptions,
    Record,
    RowProblem,
    examples_in,
    inference_for,
    is_parquet_installed,
    problems_in_example,
    problems_in_options,
    records_in,
    validator_of,
)
from datasets.runtime.reading.records import MAX_FIELD, MAX_FIELDS, MAX_RECORD
from datasets.types import FileFormat

Read = tuple[list[dict[str, Any]], dict[str, Any], list[tuple[int, str, str]]]


def read(content: bytes | str, format: str, **options: Any) -> Read:
    """Examples, inferred schema, and problems as (line, field, code)."""
    raw = content.encode() if isinstance(content, str) else content
    chosen = ReadOptions(format=FileFormat(format), **options)
    inference = inference_for(chosen)
    for item in records_in(io.BytesIO(raw), chosen):
        if isinstance(item, Record):
            inference.add(item.data)
    items = list(examples_in(io.BytesIO(raw), chosen, inference.types()))
    problems = [(item.line, item.field, item.code) for item in items if isinstance(item, RowProblem)]
    return [item.data for item in items if isinstance(item, Record)], inference.schema(), problems


def test_csv_becomes_typed_examples_with_a_schema() -> None:
    examples, schema, problems = read('text,n,price,ok\n"a, ""b""\nc",1,1.5,true\nd,-20,2,false\n', "csv")
    assert problems == []
    assert examples == [
        {"text": 'a, "b"\nc', "n": 1, "price": 1.5, "ok": True},
        {"text": "d", "n": -20, "price": 2, "ok": False},
    ]
    assert schema == {
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "n": {"type": "integer"},
            "price": {"type": "number"},
            "ok": {"type": "boolean"},
        },
        "required": ["text", "n", "price", "ok"],
    }


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "2"], "integer"),
        (["007", "8"], "string"),
        (["1e5", "2"], "string"),
        (["+1"], "string"),
        (["-0"], "string"),
        (["12345678901234567890"], "string"),
        (["1.50", "2.00"], "number"),
        (["1.1", "1.10"], "string"),
        (["0.1", "12"], "number"),
        ([" 1"], "string"),
        (["true", "FALSE"], "boolean"),
        (["true", "1"], "string"),
        (["nan"], "string"),
        (["", ""], "string"),
    ],
)
def test_texts_become_numbers_only_when_nothing_is_lost(values: list[str], kind: str) -> None:
    _examples, schema, _problems = read("name,v\n" + "".join(f"a,{value}\n" for value in values), "csv")
    assert schema["properties"]["v"] == {"type": kind}


def test_an_empty_cell_is_a_missing_field() -> None:
    examples, schema, problems = read("a,b\n1,\n,x\n", "csv")
    assert (examples, problems) == ([{"a": 1}, {"b": "x"}], [])
    assert schema["required"] == []


def test_empty_lines_are_no_records_and_an_empty_record_is_refused() -> None:
    examples, _schema, problems = read("a,b\n\n1,2\n,\n\n", "csv")
    assert examples == [{"a": 1, "b": 2}]
    assert problems == [(4, "", "empty_record")]


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("a\tb\n1\tx,y\n", {"format": "tsv"}),
        ("a;b\n1;x,y\n", {"format": "csv", "delimiter": ";"}),
        ('[{"a": 1, "b": "x,y"}]', {"format": "json"}),
        ('{"about": {"n": 1}, "data": [{"a": 1, "b": "x,y"}], "n": 2}', {"format": "json"}),
        ('\n{"a": 1, "b": "x,y"}\r\n\n', {"format": "jsonl"}),
        ('\N{BYTE ORDER MARK}{"a": 1, "b": "x,y"}', {"format": "jsonl"}),
        ('\N{BYTE ORDER MARK}a,b\r\n1,"x,y"\r\n', {"format": "csv"}),
    ],
)
def test_the_same_example_from_every_kind_of_file(content: str, options: dict[str, str]) -> None:
    assert read(content, **options)[::2] == ([{"a": 1, "b": "x,y"}], [])


@pytest.mark.parametrize(("encoding", "given"), [("utf-16", ""), ("latin-1", "latin-1"), ("cp1252", "cp1252")])
def test_other_encodings(encoding: str, given: str) -> None:
    assert read("größe\nü\n".encode(encoding), "csv", encoding=given)[0] == [{"größe": "ü"}]


def test_utf_16_of_every_byte_order_and_any_length() -> None:
    text = "wort\n" + "ä" * 100_001 + "\nb\n"
    for raw in (b"\xff\xfe" + text.encode("utf-16-le"), b"\xfe\xff" + text.encode("utf-16-be")):
        assert read(raw, "csv")[0] == [{"wort": "ä" * 100_001}, {"wort": "b"}]
    assert read("wort\nä\n".encode("utf-16-le"), "csv", encoding="utf-16")[0] == [{"wort": "ä"}]
    assert read(b"a,b\n1,2\n3", "csv", encoding="utf-16")[2] == [(1, "", "unstorable_text")]


def test_bytes_of_another_encoding_are_reported_with_line_and_field_and_never_replaced() -> None:
    content = b"id,text\n1,fine\n2,gr\xf6\xdfe\n3,fine\n"
    examples, _schema, problems = read(content, "csv")
    assert problems == [(3, "text", "undecodable")]
    assert examples == [{"id": 1, "text": "fine"}, {"id": 3, "text": "fine"}]
    assert read(b'{"t": "\xf6"}\n{"t": "a"}\n', "jsonl")[2] == [(1, "t", "undecodable")]
    assert read(b'[{"t": "a"}, {"t": ["\xf6"]}]', "json")[2] == [(2, "t.0", "undecodable")]
    assert read(b"a\xf6\n1\n", "csv")[2] == [(1, "", "unstorable_text")]
    assert read("a\nb".encode("utf-16")[:-1], "csv")[2] == [(2, "a", "undecodable")]


@pytest.mark.parametrize(
    ("content", "format", "problems"),
    [
        ("a,b\n1,2,3\n4\n5,6\n", "csv", [(2, "", "too_many_cells"), (3, "", "too_few_cells")]),
        ("a,b,a\n1,2,3\n", "csv", [(1, "a", "duplicate_header")]),
        ("a,,b\n1,2,3\n", "csv", [(1, "", "empty_header")]),
        ('a,b\n1,"2\n3,4\n', "csv", [(2, "", "csv_broken")]),
        ('a\n"b"c\n', "csv", [(2, "", "csv_broken")]),
        ("a,b\n1,x\0y\n", "csv", [(2, "b", "unstorable_text")]),
        ("a,b\n1,2\nnan,3\n-inf,4\nInfinity,5\n", "csv", [(n, "a", "not_a_number") for n in (3, 4, 5)]),
        ('[{"a": 1}, {"a": [NaN]}, {"a": -Infinity}, {"a": 1e999}]', "json", None),
        ('{"a": NaN}\n', "jsonl", [(1, "a", "not_a_number")]),
        ('{"a": "\\u0000"}\n', "jsonl", [(1, "a", "unstorable_text")]),
        ('{"a": "\\ud800"}\n', "jsonl", [(1, "a", "unstorable_text")]),
        ('{"a": 1, "a": 2}\n{"b": 1}\n', "jsonl", [(1, "a", "duplicate_key")]),
        (
            '{"a": 1\n[1]\n{"b": 1} x\n',
            "jsonl",
            [(1, "", "json_broken"), (2, "", "not_an_object"), (3, "", "json_broken")],
        ),
        ('[{"a": 1}, 2, {}]', "json", [(2, "", "not_an_object"), (3, "", "empty_record")]),
        ('[{"a": 1}, {"a": }]', "json", [(2, "", "json_broken")]),
        ('[{"a": 1} {"a": 2}]', "json", [(1, "", "json_broken")]),
        ('[{"a": 1},]', "json", [(2, "", "json_broken")]),
        ('[{"a": 1}', "json", [(1, "", "json_broken")]),
        ('[{"a": 1}] []', "json", [(0, "", "json_broken")]),
        ('{"a": [{"b": 1}], "c": []}', "json", [(0, "", "json_shape")]),
        ('{"a": 1}\n{"a": 2}\n', "json", [(0, "", "json_shape")]),
        ("{}", "json", [(0, "", "json_shape")]),
        ('{"a" 1}', "json", [(0, "", "json_broken")]),
        ('{"a": 1', "json", [(0, "", "json_broken")]),
        ("7", "json", [(0, "", "json_shape")]),
        ("[" * 100_000, "json", [(1, "", "too_deep")]),
        ('{"a": ' + "[" * 100_000 + "\n", "jsonl", [(1, "", "too_deep")]),
        ('{"a": ' + "[" * 40 + "]" * 40 + "}", "jsonl", None),
        ('{"a": ' + "9" * 5_000 + "}", "jsonl", [(1, "", "json_broken")]),
        ('[{"a": ' + "9" * 5_000 + "}]", "json", [(1, "", "json_broken")]),
    ],
)
def test_what_is_wrong_is_named_with_line_field_and_code(
    content: str, format: str, problems: list[tuple[int, str, str]] | None
) -> None:
    found = read(content, format)[2]
    if problems is None:
        assert found
        assert {code for _line, _field, code in found} <= {"not_a_number", "too_deep"}
    else:
        assert found == problems


@pytest.mark.parametrize("format", ["csv", "tsv", "json", "jsonl"])
@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_an_empty_file_has_no_records(format: str, content: bytes) -> None:
    assert read(content, format)[::2] == ([], [])


def test_a_formula_is_imported_as_it_stands() -> None:
    assert read("a\n=cmd|' /C calc'!A0\n+1-1\n@x\n-5x\n", "csv")[0] == [
        {"a": "=cmd|' /C calc'!A0"},
        {"a": "+1-1"},
        {"a": "@x"},
        {"a": "-5x"},
    ]


def test_a_mapping_renames_columns_and_drops_the_others() -> None:
    examples, schema, problems = read("q,label,id\nhello,a,1\n", "csv", mapping={"q": "question", "label": "answer"})
    assert (examples, problems) == ([{"question": "hello", "answer": "a"}], [])
    assert list(schema["properties"]) == ["question", "answer"]
    assert read("q\nx\n", "csv", mapping={"q": "question", "label": "answer"})[2] == [(0, "label", "column_missing")]


def test_declared_types_stand_and_what_does_not_fit_is_refused() -> None:
    types = {"id": "string", "n": "integer", "x": "number", "b": "boolean", "tags": "array"}
    examples, schema, problems = read('id,n,x,b,tags\n1,007,1e3,1,"[""a""]"\n2,1.5,nan,yes,{}\n', "csv", types=types)
    assert examples == [{"id": "1", "n": 7, "x": 1000.0, "b": True, "tags": ["a"]}]
    assert schema["properties"] == {name: {"type": kind} for name, kind in types.items()}
    assert problems == [
        (3, "n", "type_wrong"),
        (3, "x", "not_a_number"),
        (3, "b", "type_wrong"),
        (3, "tags", "type_wrong"),
    ]
    assert read('{"id": 1}\n{"id": null}\n', "jsonl", types={"id": "string"})[2] == [(1, "id", "type_wrong")]


def test_a_schema_is_applied_to_every_record() -> None:
    schema = {
        "type": "object",
        "properties": {"label": {"enum": ["a", "b"]}, "n": {"type": "integer", "minimum": 0}},
        "required": ["label"],
        "additionalProperties": False,
    }
    examples, _schema, problems = read("label,n\na,1\nc,2\nb,-1\n,3\n", "csv", schema=schema)
    assert examples == [{"label": "a", "n": 1}]
    assert problems == [(3, "label", "schema_enum"), (4, "n", "schema_minimum"), (5, "", "schema_required")]
    assert read("label,z\na,1\n", "csv", schema=schema)[2] == [(2, "", "schema_additionalProperties")]


def test_what_the_schema_says_types_the_cells() -> None:
    schema = {"properties": {"id": {"enum": ["1", "2"]}, "n": {"type": ["number", "null"]}, "v": {"const": 3}}}
    assert read("id,n,v\n1,2,3\n", "csv", schema=schema)[::2] == ([{"id": "1", "n": 2, "v": 3}], [])


def test_types_of_json_values_are_collected() -> None:
    _examples, schema, _problems = read(
        '[{"a": 1, "b": null, "c": ["x"], "d": {"e": 1}}, {"a": 1.5, "b": "t", "c": [], "d": {}, "f": true}]', "json"
    )
    assert schema["properties"] == {
        "a": {"type": "number"},
        "b": {"type": ["null", "string"]},
        "c": {"type": "array", "items": {"type": "string"}},
        "d": {"type": "object"},
        "f": {"type": "boolean"},
    }
    assert schema["required"] == ["a", "b", "c", "d"]


def test_too_much_is_refused_where_it_stands_and_the_rest_is_read() -> None:
    long = "x" * (MAX_FIELD + 1)
    longer = "x" * (MAX_RECORD + 1)
    assert read(f"a,b\n1,{long}\n2,y\n", "csv")[::2] == ([{"a": 2, "b": "y"}], [(2, "b", "field_too_long")])
    assert read(f"a,b\n1,{longer}\n2,y\n", "csv")[::2] == ([{"a": 2, "b": "y"}], [(2, "", "record_too_long")])
    assert read(f'{{"a": "{longer}"}}\n{{"a": 1}}\n', "jsonl")[::2] == ([{"a": 1}], [(1, "", "record_too_long")])
    assert read(f'[{{"a": "{longer * 2}"}}]', "json")[2] == [(1, "", "record_too_long")]
    assert read("a\n1\n" + '"' + "x\n" * MAX_RECORD, "csv")[2] == [(3, "", "record_too_long")]
    wide = ",".join(f"c{n}" for n in range(MAX_FIELDS + 1))
    assert read(f"{wide}\n{wide}\n", "csv")[2] == [(1, "", "too_many_fields")]
    assert read("".join(f'{{"c{n}": 1}}\n' for n in range(MAX_FIELDS + 1)), "jsonl")[2] == [
        (MAX_FIELDS + 1, "", "too_many_fields")
    ]


def test_json_across_the_borders_of_chunks() -> None:
    rows = [{"n": n, "text": "é" * (n % 97), "tags": [n, -1.5, None, True]} for n in range(5_000)]
    for indent in (None, 1):
        assert read(json.dumps(rows, indent=indent, ensure_ascii=False), "json")[::2] == (rows, [])
    assert read("".join(f"{json.dumps(row)}\n" for row in rows), "jsonl")[::2] == (rows, [])


@pytest.mark.parametrize(
    ("options", "problems"),
    [
        ({"encoding": "utf-7"}, [("encoding_unknown", "encoding")]),
        ({"delimiter": ",,"}, [("delimiter_invalid", "delimiter")]),
        ({"delimiter": "\n"}, [("delimiter_invalid", "delimiter")]),
        ({"mapping": {"a": "x", "b": "x"}}, [("mapping_ambiguous", "mapping")]),
        ({"mapping": {"a": 3}}, [("not_a_string", "mapping.a")]),
        ({"types": {"a": "date"}}, [("type_unknown", "types.a")]),
        ({"schema": {"type": "objekt"}}, [("schema_invalid", "schema")]),
        ({"schema": {"$ref": "http://127.0.0.1:9/x.json"}}, [("schema_invalid", "schema")]),
        ({"schema": {"$id": "http://[", "$ref": "a"}}, [("schema_invalid", "schema")]),
        ({"schema": {"enum": [1], "$ref": "#/enum/0"}}, [("schema_invalid", "schema")]),
        ({"schema": {"required": ["a"], "$ref": "#/required/0"}}, [("schema_invalid", "schema")]),
        ({"schema": {"patternProperties": {"^(a+)+$": {}}}}, [("schema_invalid", "schema")]),
        ({"schema": {"type": "object"}, "types": {"a": "json"}, "delimiter": ";", "encoding": "cp1252"}, []),
    ],
)
def test_wrong_options_are_found_before_reading(options: dict[str, Any], problems: list[tuple[str, str]]) -> None:
    found = problems_in_options(ReadOptions(format=FileFormat.CSV, **options))
    assert [(problem.code, problem.field) for problem in found] == problems


@pytest.mark.timeout(20)  # some patterns would take centuries
@pytest.mark.parametrize(
    ("schema", "value", "code"),
    [
        ({"properties": {"a": {"pattern": "^(a+)+$"}}}, "a" * 60 + "!", "schema_pattern"),
        ({"properties": {"a": {"pattern": "^[a-z]+$"}}}, "words", None),
        ({"properties": {"a": {"pattern": "^[a-z]+$"}}}, "Words", "schema_pattern"),
        ({"properties": {"a": {"multipleOf": 0.5}}}, 10**400, "schema_invalid"),
    ],
)
def test_no_schema_breaks_or_stops_a_check(schema: dict[str, Any], value: Any, code: str | None) -> None:
    found = [problem[1] for problem in problems_in_example(validator_of(schema), {"a": value})]
    assert found == ([code] if code else [])


class Endless(io.RawIOBase):
    """A file of `rows` lines that exists nowhere at once."""

    def __init__(self, rows: int) -> None:
        self._lines: Iterator[bytes] = itertools.chain(
            [b"n,text\n"], (b'%d,"%s"\n' % (n, b"word " * 20) for n in range(rows))
        )

    def read(self, size: int = -1) -> bytes:
        return b"".join(itertools.islice(self._lines, 600))


@pytest.mark.parametrize("rows", [20_000])
def test_memory_does_not_grow_with_the_file(rows: int) -> None:
    options = ReadOptions(format=FileFormat.CSV)
    tracemalloc.start()
    count = sum(isinstance(item, Record) for item in examples_in(Endless(rows), options, {"n": "integer"}))  # type: ignore[arg-type]
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == rows
    assert peak < 3_000_000


@pytest.mark.skipif(not is_parquet_installed(), reason="pyarrow is not installed")
def test_parquet() -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    def file_of(columns: dict[str, list[Any]]) -> bytes:
        buffer = io.BytesIO()
        parquet.write_table(arrow.table(columns), buffer)
        return buffer.getvalue()

    examples, schema, problems = read(file_of({"a": [1, None], "b": ["x", "y"], "c": [[1.5], []]}), "parquet")
    assert examples == [{"a": 1, "b": "x", "c": [1.5]}, {"b": "y", "c": []}]
    assert schema["required"] == ["b", "c"]
    assert problems == []
    assert read(file_of({"a": [1.0, float("nan")]}), "parquet")[2] == [(2, "a", "not_a_number")]
    assert read(file_of({"a": [b"\xff"]}), "parquet")[2] == [(1, "a", "type_wrong")]
    assert read(b"PAR1 and nothing else", "parquet")[2] == [(0, "", "parquet_broken")]
    beyond = {"a": arrow.array([2**40], arrow.timestamp("s"))}
    assert read(file_of(beyond), "parquet")[2] == [(0, "", "parquet_broken")]
    no_text = arrow.array([b"\xff"]).view(arrow.string())
    assert read(file_of({"a": no_text}), "parquet")[2] == [(0, "", "parquet_broken")]
