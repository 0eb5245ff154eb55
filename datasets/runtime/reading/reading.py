"""From a file to examples: one pass that infers what the fields are, one that converts and checks every record."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import IO, Any

from datasets.runtime.reading.cells import WrongType, is_of, value_of
from datasets.runtime.reading.delimited import read_delimited
from datasets.runtime.reading.inference import Inference
from datasets.runtime.reading.json_text import read_json, read_json_lines
from datasets.runtime.reading.options import ReadOptions
from datasets.runtime.reading.parquet import read_parquet
from datasets.runtime.reading.records import MAX_FIELD, MAX_FIELDS, Items, Record, RowProblem, UnreadableFile
from datasets.runtime.reading.schema import problems_in_example, types_in, validator_of
from datasets.runtime.reading.text import ESCAPED_BYTE
from datasets.types import FileFormat
from mlops.sanitiser import problem_in


def records_in(file: IO[bytes], options: ReadOptions) -> Items:
    """The records of `file` under the names of fields, values as they stand there; the last item says where the file
    stopped being readable, if it did."""
    names: set[str] = set()
    try:
        for item in _raw(file, options):
            if isinstance(item, RowProblem):
                yield item
                continue
            names.update(item.data)
            if len(names) > MAX_FIELDS:
                raise UnreadableFile(item.line, "too_many_fields", f"More than {MAX_FIELDS} fields.")
            yield _mapped(item, options.mapping) if options.mapping else item
    except UnreadableFile as error:
        yield error.problem
        return
    for name in options.mapping if names else ():
        if name not in names:
            yield RowProblem(0, name, "column_missing", "The file has no such column.")


def inference_for(options: ReadOptions) -> Inference:
    """What the first pass fills with the data of every record."""
    return Inference(is_text=options.is_text, declared=_declared(options))


def examples_in(file: IO[bytes], options: ReadOptions, types: Mapping[str, str]) -> Items:
    """The records of `file` as examples, all of whose values are of `types`, can be stored and fulfil the schema; of
    every other record each reason why not."""
    validator = None if options.schema is None else validator_of(options.schema)
    for item in records_in(file, options):
        if isinstance(item, RowProblem):
            yield item
            continue
        example = Record(item.line, {})
        problems = [*_converted(item, types, options.is_text, example.data), *_unstorable(example)]
        if not example.data and not problems:
            problems = [RowProblem(item.line, "", "empty_record", "No field has a value.")]
        if validator is not None and not problems:
            problems = [RowProblem(item.line, *reason) for reason in problems_in_example(validator, example.data)]
        if problems:
            yield from problems
        else:
            yield example


def _declared(options: ReadOptions) -> dict[str, str]:
    return {**(types_in(options.schema) if options.schema else {}), **options.types}


def _mapped(record: Record, mapping: Mapping[str, str]) -> Record:
    return Record(record.line, {field: record.data[name] for name, field in mapping.items() if name in record.data})


def _converted(record: Record, types: Mapping[str, str], is_text: bool, data: dict[str, Any]) -> Iterator[RowProblem]:
    """Fill `data` with the values that can be converted. Texts of cells become values, an empty one is missing."""
    for name, value in record.data.items():
        if not is_text:
            data[name] = value
            if name in types and value is not None and not is_of(value, types[name]):
                yield RowProblem(record.line, name, "type_wrong", f"Not of the type {types[name]}.")
        elif value:
            try:
                data[name] = value_of(value, types.get(name, "string"))
            except WrongType as error:
                yield RowProblem(record.line, name, error.code, str(error))


def _unstorable(record: Record) -> Iterator[RowProblem]:
    for name, value in record.data.items():
        if isinstance(value, str) and len(value) > MAX_FIELD:
            yield RowProblem(record.line, name, "field_too_long", f"More than {MAX_FIELD} characters.")
        elif problem := problem_in({name: value}):
            escaped = ESCAPED_BYTE.search(json.dumps({name: value}, ensure_ascii=False))
            if problem.code == "unstorable_text" and escaped:
                byte = f"0x{ord(escaped.group()) - 0xDC00:02X}"
                yield RowProblem(
                    record.line, problem.field, "undecodable", f"The byte {byte} is no text in the file's encoding."
                )
            else:
                yield RowProblem(record.line, problem.field, problem.code, problem.message)


def _raw(file: IO[bytes], options: ReadOptions) -> Items:
    if options.format is FileFormat.PARQUET:
        return read_parquet(file)
    if options.format is FileFormat.JSON:
        return read_json(file, encoding=options.encoding)
    if options.format is FileFormat.JSONL:
        return read_json_lines(file, encoding=options.encoding)
    return read_delimited(file, delimiter=options.separator, encoding=options.encoding)
