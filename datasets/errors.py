"""Refusals of datasets and corpora, with their codes."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.translation import gettext as _

from mlops.errors import Conflict, InsufficientCredits, Invalid, NotFound, Problem, TooLarge, Unavailable, all_of


def dataset_not_found() -> NotFound:
    return NotFound("dataset_not_found", _("There is no such dataset."))


def corpus_not_found() -> NotFound:
    return NotFound("corpus_not_found", _("There is no such corpus."))


def import_not_found() -> NotFound:
    return NotFound("import_not_found", _("There is no such import."))


def dataset_in_use() -> Conflict:
    return Conflict("dataset_in_use", _("The dataset is in use and cannot be deleted."))


def corpus_in_use() -> Conflict:
    return Conflict("corpus_in_use", _("The corpus is in use and cannot be deleted."))


def version_taken() -> Conflict:
    return Conflict("version_taken", _("Somebody was faster with this version. Try again."))


def name_invalid() -> Invalid:
    return Invalid(
        "name_invalid", _("A name starts with a small letter and has at most 63 of a-z, 0-9, _ and -."), field="name"
    )


def unknown_type() -> Invalid:
    return Invalid("dataset_type_unknown", _("The type is training, validation or test."), field="type")


def empty(field: str) -> Invalid:
    return Invalid("empty", _("At least one is needed."), field=field)


def too_many(field: str, limit: int) -> Invalid:
    return Invalid("too_many", _("At most %(limit)s are accepted.") % {"limit": limit}, field=field)


def invalid_examples(problems: Sequence[Problem]) -> Invalid:
    return all_of(problems, code="dataset_invalid", message=_("Some examples cannot be accepted."))


def invalid_passages(problems: Sequence[Problem]) -> Invalid:
    return all_of(problems, code="corpus_invalid", message=_("Some passages cannot be accepted."))


def dataset_frozen() -> Conflict:
    return Conflict(
        "dataset_frozen", _("The dataset is in use, so its examples and schema stay. Create the next version of it.")
    )


def dataset_importing() -> Conflict:
    return Conflict("dataset_importing", _("The dataset is still being imported. Wait for the import, or cancel it."))


def dataset_changed() -> Conflict:
    return Conflict("dataset_changed", _("The dataset has changed meanwhile. Try again."))


def too_many_inline(field: str, limit: int) -> Invalid:
    message = _("At most %(limit)s are accepted here. Import a file: POST /api/v1/datasets/import/.")
    return Invalid("too_many", message % {"limit": limit}, field=field)


def schema_invalid(reason: str) -> Invalid:
    return Invalid("schema_invalid", reason, field="schema")


def format_unknown(known: Sequence[str]) -> Invalid:
    message = _("The format of the file is not known. Name one of %(known)s.") % {"known": ", ".join(known)}
    return Invalid("format_unknown", message, field="format")


def parquet_not_installed() -> Invalid:
    return Invalid("parquet_not_installed", _("Parquet needs the Python package pyarrow."), field="format")


def file_too_large(limit: int) -> TooLarge:
    message = _("The file is larger than %(limit)d bytes.") % {"limit": limit}
    return TooLarge("file_too_large", message, field="file", extra={"limit": limit})


def file_empty() -> Invalid:
    return Invalid("empty", _("The file has no records."), field="file")


def file_lost() -> Invalid:
    return Invalid("file_lost", _("The uploaded file is gone from the storage. Upload it again."), field="file")


def import_invalid(bad_rows: int) -> Invalid:
    message = _("%(rows)d rows cannot be accepted, so nothing was imported. The report names them.")
    return Invalid("import_invalid", message % {"rows": bad_rows}, field="file")


def options_invalid(problems: Sequence[Problem]) -> Invalid:
    return all_of(problems, code="options_invalid", message=_("The options of the import are wrong."))


def unknown_field(name: str, field: str) -> Invalid:
    return Invalid("unknown_field", _("No example has a field %(name)s.") % {"name": name}, field=field)


def fractions_invalid(problems: Sequence[Problem]) -> Invalid:
    return all_of(problems, code="fractions_invalid", message=_("The fractions of the parts are wrong."))


def too_few_examples(part: str) -> Invalid:
    return Invalid(
        "too_few_examples",
        _("There are too few different examples: the part %(part)s would be empty.") % {"part": part},
        field=f"fractions.{part}",
    )


def dataset_sealed() -> Conflict:
    return Conflict("dataset_sealed", _("A test set is sealed: none of its examples may be used for training."))


def overlap_needs_others() -> Invalid:
    message = _("Name the datasets to compare with: only whole examples are found among all of them.")
    return Invalid("required", message, field="with")


def corpus_importing() -> Conflict:
    return Conflict("corpus_importing", _("The corpus is still being imported. Wait for the import, or cancel it."))


def corpus_without_vectors() -> Invalid:
    return Invalid(
        "corpus_without_vectors",
        _("The corpus has no vectors: import it with an embedding model, or search it by bm25."),
        field="search",
    )


def corpus_vectors_differ(why: str) -> Invalid:
    return Invalid(
        "corpus_vectors_differ",
        _("The vectors of the corpus and of the query cannot be compared: %(why)s") % {"why": why},
        field="search",
    )


def embedding_model_disabled() -> Unavailable:
    return Unavailable("embedding_model_disabled", _("The embedding model of the corpus is not enabled."))


def search_unknown() -> Invalid:
    return Invalid("invalid_choice", _("The search is bm25, vector or hybrid."), field="search")


def not_an_embedding_model() -> Invalid:
    return Invalid("not_an_embedding_model", _("This is not an embedding model."), field="embedding_model")


def embedding_failed(message: str) -> Unavailable:
    return Unavailable("embedding_failed", _("The embedding model did not answer: %(why)s") % {"why": message})


def embedding_price_unknown() -> InsufficientCredits:
    return InsufficientCredits("price_unknown", _("The embedding model has no price."))


def out_of_range(field: str, least: int, most: int) -> Invalid:
    message = _("Expected a whole number from %(least)d to %(most)d.") % {"least": least, "most": most}
    return Invalid("out_of_range", message, field=field)
