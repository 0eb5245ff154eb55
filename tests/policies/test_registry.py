"""The register of verbs is complete, and so are table, policies and edges."""

from __future__ import annotations

import inspect

import pytest

from mlops.verbs import verb, verb_of
from tests.policies.edges import Edge, all_edges
from tests.policies.listed import (
    ADMIN,
    ADMIN_VERBS,
    COMMAND_VERBS,
    COMMANDS,
    NO_MUTATION,
    REST,
    REST_VERBS,
    TASK_VERBS,
    TASKS,
)
from tests.policies.registered import policies, services, verbs
from tests.policies.table import READING, TABLE, scope_of

INTERNAL = {
    "acheck_rate": "counts a request; asks no right",
    "accept_file": "part of import_dataset and import_corpus",
    "admit": "part of execute_program and stream_execution; asks their right",
    "allowed_plan": "part of execute_program and stream_execution; asks their right",
    "answer": "execute_program itself, on the loop that runs it",
    "asked": "part of compile_program and estimate_optimization; asks their right",
    "begin": "stream_execution itself, on the loop that runs it",
    "check_group": "part of create_program and update_program",
    "check_rate": "counts a request; asks no right",
    "checked_programs": "part of create_token",
    "delete_unused": "part of delete_dataset and delete_corpus",
    "delete_with_history": "writes; the verbs that call it have asked",
    "embedded_query": "part of search_passages",
    "follow_signature": "part of update_signature and update_module",
    "freeze": "part of submit, deploy, archive, execute and evaluate, which have asked",
    "frozen": "part of freeze_dataset and freeze_corpus",
    "interface_of": "what execute_program and stream_execution take and give; asks their right",
    "line_key": "names a line of the ledger; asks no right",
    "limits_by_default": "part of create_token",
    "once": "spends a key; what it starts is a verb",
    "once_ready": "spends a key; what it starts is a verb",
    "price_new_model": "part of create_language_model and ensure_default_model",
    "propose": "part of evaluate_program and estimate_evaluation; asks their right",
    "ready_compile": "part of compile_program, and of a schedule's run; asks its right",
    "record_scores": "notes what an evaluation found; its right was asked when it began",
    "refuse_more_than_own": "part of create_token and rotate_token",
    "refuse_problems": "part of submit, deploy and roll_back",
    "refuse_unusable": "part of the verbs of metrics: may the actor have the judge asked",
    "save_as_next_version": "writes; the verbs that call it have asked",
    "save_new_connection": "part of create_program and add_connection",
    "save_new_module": "part of create_program and add_module",
    "usage_csv": "reads usage in the scope of visible_to",
    "save_prompt_version": "part of create_prompt_version",
    "save_with_history": "writes; the verbs that call it have asked",
    "saved_or_none": "an actor as a foreign key holds it",
    "split_off": "part of compile_program",
    "stream": "stream_execution, of a request that an edge has made",
    "touch": "writes; the verbs that call it have asked",
    "version_of": "part of adopt_candidate, and of a compile that has ended",
}
"""Services with an actor that nobody calls from an edge."""

NOT_ASKED_BY_A_VERB = {
    ("program", "execute_as_tool"): "asked of the programs that another one calls, by the verbs that run it",
    ("module", "create"): "add_module asks to change the program",
    ("module", "delete"): "remove_module asks to change the program",
    ("connection", "create"): "add_connection asks to change the program",
    ("connection", "change"): "a changed connection is another one",
    ("connection", "delete"): "remove_connection asks to change the program",
    ("prompt_version", "create"): "asked by the page that adds one; create_prompt_version asks to change the module",
}


def test_every_service_with_an_actor_is_a_verb_or_internal() -> None:
    registered = {verb.function for verb in verbs()}
    acting = {function for function in services() if "actor" in inspect.signature(function).parameters}

    assert {function.__name__ for function in acting - registered} == set(INTERNAL)
    assert registered <= acting


def test_every_verb_asks_an_action_that_its_policy_has() -> None:
    assert [verb.name for verb in verbs() if verb.action not in verb.policy.rules] == []


def test_every_action_of_a_policy_is_asked_by_a_verb() -> None:
    asked = {(verb.policy.name, verb.action) for verb in verbs()}
    known = {(policy.name, action) for policy in policies() for action in policy.rules}

    unasked = {(name, action) for name, action in known - asked if action != "view"}
    assert unasked == set(NOT_ASKED_BY_A_VERB)


def test_every_verb_has_one_line_in_the_table() -> None:
    in_table = [name for line in TABLE for name in line.verbs]

    assert set(in_table) == {verb.name for verb in verbs()}
    assert len(in_table) == len(set(in_table))
    assert set(in_table) >= READING


def test_every_verb_needs_the_scope_of_the_table() -> None:
    assert {verb.name: verb.policy.scopes[verb.action] for verb in verbs()} == {
        verb.name: scope_of(verb.name) for verb in verbs()
    }


@pytest.mark.parametrize("edge", all_edges(), ids=lambda edge: edge.name)
def test_every_way_in_is_mapped(edge: Edge) -> None:
    assert bool(edge.verbs) != bool(edge.reason), "map it to a verb, or list it with a reason"
    assert set(edge.verbs) <= {verb.name for verb in verbs()}


def test_every_verb_has_its_mutation_or_a_reason() -> None:
    mutations = {name for edge in all_edges() if edge.name.startswith("mutation ") for name in edge.verbs}

    assert {verb.name for verb in verbs()} - mutations == set(NO_MUTATION)


def test_nothing_is_listed_that_is_not_there() -> None:
    names = {edge.name for edge in all_edges()}
    listed = {*ADMIN, *ADMIN_VERBS, *COMMANDS, *COMMAND_VERBS, *REST, *REST_VERBS, *TASKS, *TASK_VERBS}

    assert listed - names == set()


def test_a_name_is_registered_once_and_a_function_that_is_none_is_not_found() -> None:
    taken = verbs()[0]

    def other() -> None: ...

    other.__name__ = taken.name
    with pytest.raises(ValueError, match=taken.name):
        verb(taken.policy, taken.action)(other)
    with pytest.raises(KeyError):
        verb_of(other)
    assert verb_of(taken.function) is taken
