"""Files of examples, read in bounded memory: CSV, TSV, JSON, JSON Lines and, with pyarrow, Parquet."""

from datasets.runtime.reading.inference import Inference
from datasets.runtime.reading.options import ReadOptions, problems_in_options
from datasets.runtime.reading.parquet import is_parquet_installed
from datasets.runtime.reading.reading import examples_in, inference_for, records_in
from datasets.runtime.reading.records import Items, Record, RowProblem, UnreadableFile
from datasets.runtime.reading.schema import problem_in_schema, problems_in_example, validator_of

__all__ = [
    "Inference",
    "Items",
    "ReadOptions",
    "Record",
    "RowProblem",
    "UnreadableFile",
    "examples_in",
    "inference_for",
    "is_parquet_installed",
    "problem_in_schema",
    "problems_in_example",
    "problems_in_options",
    "records_in",
    "validator_of",
]
