"""What an optimizer does, an engineer does by hand, by the same path: a draft, its prompt, a proof, a deployment."""

from __future__ import annotations

from typing import Any

import pytest

from datasets.models import Dataset
from executions.models import Evaluation, Metric
from executions.services import compare_evaluations, evaluate_program, run_evaluation_here
from mlops.errors import Conflict
from mlops.models import User
from programs.models import Program
from programs.services import deploy_program, new_version, set_prompt, submit_program
from tests.optimizations.compiling import examples, knowing, make_dataset, make_metric, make_program, provided
from tests.provider import Provider

pytestmark = pytest.mark.django_db(transaction=True)


def evaluated(actor: User, program: Program, dataset: Dataset, metric: Metric) -> Evaluation:
    evaluation = evaluate_program(actor=actor, program=program, dataset=dataset, metrics=[metric])
    return run_evaluation_here(evaluation)


def test_demos_written_by_hand_are_proven_and_deployed(erin: User, provider: Provider) -> None:
    provider.answer(knowing())
    provided(provider.base_url)
    metric, test = make_metric(erin), make_dataset(erin, 30, type="test", offset=60)
    gate: dict[str, Any] = {"deploy_gate": {"metric": metric.name}}
    first = deploy_program(actor=erin, program=make_program(erin, name="triage", config=gate))
    before = evaluated(erin, first, test, metric)

    draft = new_version(actor=erin, program=first)
    set_prompt(actor=erin, module=draft.modules.get(), prompt_template="Say what they want.", demos=examples(3))
    draft = submit_program(actor=erin, program=draft)
    with pytest.raises(Conflict) as unproven:
        deploy_program(actor=erin, program=draft)
    after = evaluated(erin, draft, test, metric)
    deployed = deploy_program(actor=erin, program=draft)

    assert unproven.value.code == "deploy_not_better"
    pairs = compare_evaluations(actor=erin, baseline=before, candidate=after).pairs
    assert (pairs.old_mean, pairs.new_mean, pairs.wins, pairs.losses) == (0.5, 1.0, 15, 0)
    assert (deployed.version, deployed.status) == (2, "production")
    assert Program.objects.get(pk=first.pk).status == "archived"
    deployed = Program.objects.get(pk=deployed.pk)
    assert deployed.metrics[str(test)][str(metric)]["mean"] == 1.0
    prompt = deployed.modules.get().prompt_versions.get(traffic_percentage=100)
    assert prompt.performance_metrics[str(test)][str(metric)]["mean"] == 1.0
