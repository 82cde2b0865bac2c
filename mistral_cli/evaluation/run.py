"""Runs an evaluation: rows → a batch for each configuration → figures → what is printed."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.batch.command import prepared_run, stoppable_batch
from mistral_cli.batch.options import requested_slots
from mistral_cli.batch.prompts import RowPrompts
from mistral_cli.batch.windows import RowSource
from mistral_cli.errors import GateFailed, RowsFailed, UsageError
from mistral_cli.evaluation.configurations import (
    Configuration,
    configurations,
    results_folder,
)
from mistral_cli.evaluation.data import KnownRows, read_baseline, read_known_rows
from mistral_cli.evaluation.envelope import dry_run_fields, evaluation_fields
from mistral_cli.evaluation.gates import parse_gates
from mistral_cli.evaluation.metrics import TASKS
from mistral_cli.evaluation.report.page import check_report, write_report
from mistral_cli.evaluation.results import Cost, Evaluated, Evaluation, differences
from mistral_cli.evaluation.table import evaluation_lines
from mistral_cli.generation.run import prompt_builder
from mistral_cli.generation.servers import find_servers, server_addresses
from mistral_cli.system.files import is_same_file
from mistral_cli.system.stdout import write, write_envelope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mistral_cli.batch.estimate import BatchEstimate
    from mistral_cli.batch.formats import Record
    from mistral_cli.batch.options import BatchOptions
    from mistral_cli.evaluation.gates import Gate
    from mistral_cli.evaluation.metrics.metric import Figures, TaskMetrics
    from mistral_cli.evaluation.options import EvaluationOptions
    from mistral_cli.generation.task import Task
    from mistral_cli.models.call import CallContext
    from mistral_cli.system.terminal import Terminal


def run_evaluation(
    task: Task,
    data: Path,
    options: BatchOptions,
    evaluation: EvaluationOptions,
    terminal: Terminal,
) -> None:
    """Evaluate the configurations on the rows of `data` and print the figures.

    Raises GateFailed if a gate does not hold, and other MistralCliErrors.
    """
    metrics: TaskMetrics = import_module(TASKS[task.name]).metrics(task)
    metrics.check()
    gates = parse_gates(evaluation.gates or (), metrics.names)
    _check_options(task, data, options, evaluation)
    folder = evaluation.folder or results_folder(task.name, data)
    resumable = replace(options, output=folder)
    with stoppable_batch(resumable, terminal):
        call = options.call(terminal)
        task, options = task.with_files(call), task.adjusted(options.decoded(call))
        models = _models(evaluation, options, call)
        chosen = configurations(models, evaluation.templates or (), folder)
        run = _EvaluationRun(task, metrics, options, call)
        prompts = [run.prompts(each) for each in chosen]  # a wrong template ends the call here
        known = read_known_rows(data, metrics, options, evaluation, call)
        baseline = run.baseline(evaluation.baseline, chosen, known)
        if not server_addresses(options, call.config):
            for model in models:
                call.read_model(model)  # so that a missing model ends the call before the first run
        if options.dry_run:
            pairs = zip(chosen, prompts, strict=True)
            estimates = [(each, run.estimate(each, own, known)) for each, own in pairs]
            write_envelope(terminal, dry_run_fields(task.name, data, known.rows, estimates))
            return
        evaluated = [run.evaluated(*baseline, known)] if baseline else []
        for each, own in zip(chosen, prompts, strict=True):
            evaluated.append(run.evaluated(each, run.answers(each, own, known), known))
    terminal.status("computing the intervals …")
    result = run.compared(data, known, evaluated, gates)
    if evaluation.json:
        write_envelope(terminal, evaluation_fields(result))
    else:
        write(terminal, "".join(f"{line}\n" for line in evaluation_lines(result)))
    if evaluation.page:
        write_report(evaluation.page, result)
    _check_gates(result)


def _models(
    evaluation: EvaluationOptions, options: BatchOptions, call: CallContext
) -> Sequence[str]:
    """The models to evaluate, by their names."""
    if addresses := server_addresses(options, call.config):
        given: Sequence[str | None] = evaluation.models or [None]
        asked = (replace(options, model=each) for each in given)
        found = (find_servers(addresses, each, call.config, call.terminal) for each in asked)
        return [str(each.model.name) for each in found]
    return evaluation.models or [call.config.model]


@dataclass(frozen=True)
class _EvaluationRun:
    """The task and its metrics, for every configuration; `options` are decoded."""

    task: Task
    metrics: TaskMetrics
    options: BatchOptions
    call: CallContext

    def prompts(self, configuration: Configuration) -> RowPrompts:
        """The prompts of a configuration. Raises UsageError.

        They have a strategy of their own: that of `classify` remembers the tokens of labels.
        """
        task = replace(self.task, strategy=deepcopy(self.task.strategy))
        options = self._options(configuration)
        return RowPrompts(task, prompt_builder(task, options, self.call), options.prompt)

    def estimate(
        self, configuration: Configuration, prompts: RowPrompts, known: KnownRows
    ) -> BatchEstimate:
        """What a run of one configuration would do."""
        options = replace(self._options(configuration), dry_run=True)
        with prepared_run(prompts, RowSource(known.rows), options, self.call) as run:
            estimate = run.estimate()
        self.call.terminal.note(f"{configuration.name}: {estimate.to_do:,} rows to do")
        estimate.report(self.call.terminal)
        return estimate

    def answers(
        self, configuration: Configuration, prompts: RowPrompts, known: KnownRows
    ) -> Mapping[str, Record]:
        """The records of all rows by id, after a batch about those that have none yet."""
        options = self._options(configuration)
        self.call.terminal.note(f"evaluating {configuration.name}")
        with prepared_run(prompts, RowSource(known.rows), options, self.call) as run:
            run.retries_checks = False
            try:
                run.run()
            except RowsFailed as failure:  # a failed row is a wrong answer, and counted
                self.call.terminal.note(f"{failure.message} and count as wrong")
            return {str(record["id"]): record for record in run.sink.existing_records()}

    def baseline(
        self, path: Path | None, chosen: Sequence[Configuration], known: KnownRows
    ) -> tuple[Configuration, dict[str, Record]] | None:
        """The configuration that stands for an earlier run, with its records. Raises UsageError."""
        if path is None:
            return None
        if any(is_same_file(path, each.results) for each in chosen):
            raise UsageError(
                f"--baseline {path} is a file that this run writes",
                hint="Choose another folder: -o.",
            )
        records = read_baseline(path, known.rows, self.metrics, self.call.terminal)
        model = next((str(each["model"]) for each in records.values() if each.get("model")), "")
        return Configuration(f"baseline {path.stem}", model, None, path, is_baseline=True), records

    def evaluated(
        self, configuration: Configuration, records: Mapping[str, Record], known: KnownRows
    ) -> Evaluated:
        """The figures of one configuration."""
        examples = known.examples(records, self.metrics)
        figures = self.metrics.figures(list(examples.values()))
        cost = Cost.of([each.record for each in examples.values()], records.values())
        return Evaluated(configuration, examples, figures, cost)

    def compared(
        self, data: Path, known: KnownRows, evaluated: Sequence[Evaluated], gates: Sequence[Gate]
    ) -> Evaluation:
        """All that is printed; the gates are for the configurations of this run."""
        return Evaluation(
            task=self.task.name,
            data=data,
            rows=known.rows,
            evaluated=evaluated,
            differences=differences(
                evaluated, (self._on_shared_rows(evaluated[0], each) for each in evaluated[1:])
            ),
            gates=[
                gate.outcome(each)
                for gate in gates
                for each in evaluated
                if not each.configuration.is_baseline
            ],
            signature=self.metrics.signature(),
        )

    def _on_shared_rows(self, first: Evaluated, second: Evaluated) -> tuple[Figures, Figures]:
        """The figures of both on the rows that both have: a baseline may lack some."""
        if first.examples.keys() == second.examples.keys():
            return first.figures, second.figures
        shared = [row_id for row_id in second.examples if row_id in first.examples]
        self.call.terminal.note(
            f"{first.configuration.name} has {len(first.examples):,} of the "
            f"{len(second.examples):,} rows: the differences are about these"
        )
        before, after = (
            self.metrics.figures([each.examples[row_id] for row_id in shared])
            for each in (first, second)
        )
        return before, after

    def _options(self, configuration: Configuration) -> BatchOptions:
        return replace(
            self.options,
            model=configuration.model,
            template=configuration.template,
            output=configuration.results,
            ordered=True,
        )


def _check_options(
    task: Task, data: Path, options: BatchOptions, evaluation: EvaluationOptions
) -> None:
    """Raise UsageError for options that do not apply, or a page at a wrong place."""
    for name, is_there in (("--jsonl", task.jsonl), ("--html", task.html)):
        if is_there:
            raise UsageError(f"{name} does not apply to an evaluation", hint=f"Drop {name}.")
    requested_slots(options)
    if evaluation.folder and evaluation.folder.exists() and not evaluation.folder.is_dir():
        raise UsageError(f"{evaluation.folder} is not a folder", hint="Name a folder with -o.")
    if evaluation.page:
        check_report(evaluation.page, data, evaluation.baseline)


def _check_gates(result: Evaluation) -> None:
    broken = [each for each in result.gates if not each.holds]
    if broken:
        reasons = (f"{each.gate} ({each.configuration}: {each.value:.4g})" for each in broken)
        raise GateFailed(
            f"{'a gate does' if len(broken) == 1 else 'gates do'} not hold: {', '.join(reasons)}",
            hint="Compare the answers with --report FILE.",
        )
