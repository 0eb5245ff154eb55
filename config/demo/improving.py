"""The second half of the main job: a program is measured on a sealed test set, compiled, measured again, and deployed
if it is proven better."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from config.demo.output import DemoFailed, Page, in_usd, pairs, short
from config.sample import texts
from config.sample.loading import ENGINEER, INTENT_MATCH, MESSAGES
from config.sample.programs import TRIAGE
from datasets.models import Dataset
from datasets.types import DatasetType
from executions.models import Evaluation, EvaluationScore, Metric
from executions.runtime.comparison import Comparison
from executions.services import compare_evaluations, evaluate_program, execute_program
from executions.types import Budget, ExecutionState, FinishReason
from mlops.errors import Invalid
from mlops.models import User, Work
from mlops.selectors import default_language_model
from mlops.types import MATCHER_NAME, PICO_PER_USD, JobState
from optimizations.models import Optimization
from optimizations.services import compile_program
from programs.models import Program
from programs.selectors import resolve_reference
from programs.services import deploy_program, submit_program

OPTIMIZER, DEMOS = "labeled_few_shot", 64

WAIT_S = 900.0
LOOK_S = 0.1
TELL_S = 2.0
"""How often progress is written."""

BUDGET = Budget(cost=PICO_PER_USD // 2, seconds=300)
"""What each piece of work may use at most where a provider charges for it: half a dollar and five minutes."""

W = TypeVar("W", bound=Work)


@dataclass(frozen=True, slots=True)
class Improving:
    """Steps 6 to 10."""

    page: Page

    def show(self) -> None:
        """Write each step as it is done. Raises `DemoFailed` and what the verbs refuse."""
        try:
            self._improve(_sample_engineer(), _metric())
        except Invalid as refusal:
            if refusal.code != "budget_too_small":
                raise
            self.page.line(f"{refusal.message} Nothing is compiled, nothing is deployed.")

    def _improve(self, engineer: User, metric: Metric) -> None:
        program = resolve_reference(f"{TRIAGE}@production")
        test = _dataset(DatasetType.TEST)
        self.page.title(f"6. {program} on the sealed test set {test}, {test.size} messages")
        before = self._evaluated(engineer, program, test, metric)
        result = self._compiled(engineer, program, metric)
        if result is None:
            self.page.line("Nothing better was found: nothing is deployed.")
            return
        self.page.title(f"8. {result} on the same test set")
        after = self._evaluated(engineer, result, test, metric)
        self._decided(engineer, result, before, after, metric)

    def _evaluated(self, actor: User, program: Program, dataset: Dataset, metric: Metric) -> Evaluation:
        started = evaluate_program(actor=actor, program=program, dataset=dataset, metrics=[metric], budget=_budget())
        evaluation = self._ended(started, _said_of_evaluation)
        score = _score(evaluation)
        self.page.line(
            f"{metric}: {_share(score.mean)} ({_share(score.low)} to {_share(score.high)} at 95 %), "
            f"always the commonest answer: {_share(score.majority_baseline)}"
        )
        self.page.line(
            f"{evaluation.done} messages, {evaluation.errors} errors, {evaluation.calls} calls, "
            f"{in_usd(evaluation.cost)}, {evaluation.seconds:.1f} s"
        )
        return evaluation

    def _compiled(self, actor: User, program: Program, metric: Metric) -> Program | None:
        training, validation = _dataset(DatasetType.TRAINING), _dataset(DatasetType.VALIDATION)
        self.page.title(f"7. Compile {program} with {OPTIMIZER}, k={DEMOS}, on {training}")
        started = compile_program(
            actor=actor,
            program=program,
            dataset=training,
            validation_set=validation,
            metric=metric,
            optimizer=OPTIMIZER,
            params={"k": DEMOS},
            budget=_budget(),
        )
        self.page.line(f"estimated: {_interval(started.estimate, 'calls')} calls")
        optimization = self._ended(started, _said_of_optimization)
        for warning in optimization.warnings:
            self.page.line(f"warning: {short(warning)}")
        self.page.line(
            f"candidates: {optimization.candidates.count()}, {optimization.finish_reason}; the optimizer itself made "
            f"{optimization.calls} calls, {in_usd(optimization.cost)}, {optimization.seconds:.1f} s"
        )
        if optimization.baseline_evaluation and optimization.best_evaluation:
            judged = compare_evaluations(
                actor=actor, baseline=optimization.baseline_evaluation, candidate=optimization.best_evaluation
            )
            self.page.line(f"on {validation}: {_difference(judged.pairs)}")
        result: Program | None = optimization.result_program
        return result

    def _decided(self, actor: User, result: Program, before: Evaluation, after: Evaluation, metric: Metric) -> None:
        comparison = compare_evaluations(actor=actor, baseline=before, candidate=after, metric=metric)
        self._table(before, after, comparison.pairs)
        is_whole = {before.finish_reason, after.finish_reason} == {FinishReason.FINISHED.value}
        if not (is_whole and comparison.pairs.is_better):
            self.page.line("Not proven better at 95 % on all messages: nothing is deployed.")
            return
        submitted = submit_program(actor=actor, program=result)
        deployed = deploy_program(actor=actor, program=submitted, reason="Better on the sealed test set at 95 %")
        self.page.title(f"10. {deployed} is in production now, and answers")
        message = texts.messages(DatasetType.TEST)[0]
        execution = execute_program(actor=actor, program=TRIAGE, input={"message": message.message})
        if execution.state != ExecutionState.COMPLETED or execution.program_id != deployed.pk:
            raise DemoFailed(f"Execution {execution.pk} is {execution.state}, of {execution.program}.")
        self.page.line(f"message: {short(message.message)}")
        self.page.line(f"output:  {pairs(execution.output)} (a person said: {message.intent}, {message.urgency})")

    def _table(self, before: Evaluation, after: Evaluation, comparison: Comparison) -> None:
        self.page.title("9. Before and after, on the sealed test set")
        rows = [("", "before", "after")]
        one, two = _score(before), _score(after)
        rows += [
            ("score", _share(one.mean), _share(two.mean)),
            ("95 % interval", f"{_share(one.low)}..{_share(one.high)}", f"{_share(two.low)}..{_share(two.high)}"),
            ("majority baseline", _share(one.majority_baseline), _share(two.majority_baseline)),
            ("calls", str(before.calls), str(after.calls)),
            ("cost", in_usd(before.cost), in_usd(after.cost)),
            ("seconds", f"{before.seconds:.1f}", f"{after.seconds:.1f}"),
        ]
        for name, left, right in rows:
            self.page.line(f"{name:<18} {left:>16} {right:>16}")
        self.page.line(_difference(comparison))

    def _ended(self, started: W, said: Callable[[W], str]) -> W:
        """The row once its work has ended well; meanwhile each new figure of its progress is written."""
        began, last = time.monotonic(), ""
        told, row = began, started
        while not row.is_terminal:
            now = time.monotonic()
            if now - began > WAIT_S:
                raise DemoFailed(f"{started._meta.verbose_name} {started.pk} has not ended within {WAIT_S:.0f} s.")
            time.sleep(LOOK_S)
            row = type(started)._default_manager.get(pk=started.pk)
            if row.state == JobState.RUNNING and now - told > TELL_S and said(row) != last:
                told, last = now, said(row)
                self.page.line(last)
        if row.state != JobState.COMPLETED:
            raise DemoFailed(f"{started._meta.verbose_name} {row.pk} is {row.state}. {row.error_message}".rstrip())
        return row


def _said_of_evaluation(evaluation: Evaluation) -> str:
    return f"{evaluation.done} of {evaluation.size} scored"


def _said_of_optimization(optimization: Optimization) -> str:
    return f"phase: {optimization.progress.get('phase', 'starting')}"


def _difference(pairs: Comparison) -> str:
    return (
        f"difference {_points(pairs.difference)} points, 95 % interval {_points(pairs.low)} to {_points(pairs.high)}, "
        f"p = {pairs.p_value or 0:.2g}; {pairs.wins} won, {pairs.losses} lost, {pairs.ties} alike"
    )


def _points(value: float | None) -> str:
    return "unknown" if value is None else f"{100 * value:+.1f}"


def _interval(estimate: dict[str, Any], name: str) -> str:
    low, high = estimate[name]
    return f"{low}" if low == high else f"{low} to {high}"


def _score(evaluation: Evaluation) -> EvaluationScore:
    score: EvaluationScore = evaluation.scores.get()
    if score.mean is None:
        raise DemoFailed(f"Evaluation {evaluation.pk} scored nothing.")
    return score


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{100 * value:.1f} %"


def _budget() -> Budget:
    """The example matcher costs nothing and needs no limit."""
    return Budget() if default_language_model().name == MATCHER_NAME else BUDGET


def _dataset(kind: DatasetType) -> Dataset:
    found: Dataset | None = Dataset.objects.ready().latest_version(name=MESSAGES, type=kind.value)
    if found is None:
        raise DemoFailed(f"There is no dataset {MESSAGES}/{kind}. Load the sample first: manage.py load_sample")
    return found


def _metric() -> Metric:
    found: Metric | None = Metric.objects.latest_version(INTENT_MATCH)
    if found is None:
        raise DemoFailed(f"There is no metric {INTENT_MATCH}. Load the sample first: manage.py load_sample")
    return found


def _sample_engineer() -> User:
    found: User | None = User.objects.filter(username=ENGINEER).first()
    if found is None:
        raise DemoFailed(f"There is no user {ENGINEER}. Load the sample first: manage.py load_sample")
    return found
