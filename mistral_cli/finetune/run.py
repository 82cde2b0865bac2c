"""`finetune train`: one run from the data to the adapter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.errors import EngineFailed, first_line
from mistral_cli.finetune.adapter import read_lora, write_adapter
from mistral_cli.finetune.data import TrainingData, read_data
from mistral_cli.finetune.encode import encode_examples
from mistral_cli.finetune.extras import check_installed, quiet_libraries
from mistral_cli.finetune.plan import TrainingPlan, make_plan
from mistral_cli.finetune.report import (
    History,
    TrainingProgress,
    print_plan,
    print_result,
    push_to_hub,
    write_log,
    write_plot,
)
from mistral_cli.finetune.run_dir import RunDirectory, run_directory
from mistral_cli.finetune.strategy import (
    MemoryStrategy,
    choose_strategy,
    saved_strategy,
    this_device,
)
from mistral_cli.models.call import CallContext, prepare_call
from mistral_cli.models.hub.api import download_weights
from mistral_cli.system.files import refuse_to_overwrite

if TYPE_CHECKING:
    from mistral_cli.finetune.options import TrainingOptions
    from mistral_cli.system.reporter import Reporter
    from mistral_cli.system.terminal import Terminal


def finetune(path: Path, options: TrainingOptions, terminal: Terminal) -> None:
    """Train an adapter on the rows of the file at `path`, or with --dry-run print the plan.

    Raises every MistralCliError.
    """
    call = prepare_call(
        terminal, quiet=options.quiet, offline=options.offline, encoding=options.encoding
    )
    directory = run_directory(options.output, path)
    data = read_data(path, terminal, call.encoding)
    plan = _plan(data, options, call)
    if options.dry_run:
        strategy = choose_strategy(plan, this_device())
        print_plan(terminal, plan, strategy, as_json=options.json)
        return
    check_installed(nf4=options.nf4)
    base = _base_folder(options, terminal)
    inputs = [path, *plan.model.files, *([base] if base else [])]
    refuse_to_overwrite(inputs, "-o", *directory.written)
    state = directory.open(plan.settings, resume=options.resume, force=options.force)
    with quiet_libraries():
        strategy = saved_strategy(state) or choose_strategy(plan, this_device())
        directory.save_state({"settings": plan.settings, "strategy": asdict(strategy)})
        history = _train(plan, strategy, directory, base, terminal)
        lora = read_lora(directory.folder, plan.model)
        write_adapter(lora, plan.model, _adapter_name(plan), directory.adapter)
        write_log(history, plan, strategy, directory)
        write_plot(history, plan, directory.plot)
    directory.finish()
    print_result(terminal, plan, directory, history, as_json=options.json)
    if options.push_to_hub:
        push_to_hub(options.push_to_hub, directory, plan, history, terminal)


def _plan(data: TrainingData, options: TrainingOptions, call: CallContext) -> TrainingPlan:
    model = call.read_model(options.model)
    if data.unused:
        call.terminal.warn(f"{data.name} has columns that are not used: {', '.join(data.unused)}")
    rows = encode_examples(data, model, options.max_length)
    return make_plan(model, call.model_name(options.model), data, rows, options)


def _base_folder(options: TrainingOptions, reporter: Reporter) -> Path | None:
    """The folder of the Hugging Face weights to train on, or None for the GGUF's own."""
    if not options.base:
        return None
    reporter.warn(
        f"the adapter is trained on {options.base}{' in NF4' if options.nf4 else ''} but will run "
        "on the GGUF's weights, which differ: without --base it fits them better"
    )
    folder = Path(options.base).expanduser()
    return folder if folder.is_dir() else download_weights(options.base, reporter)


def _train(
    plan: TrainingPlan,
    strategy: MemoryStrategy,
    directory: RunDirectory,
    base: Path | None,
    reporter: Reporter,
) -> History:
    reporter.status("loading the trainer")
    with _library_errors_translated():
        from mistral_cli.finetune.network import load_network
        from mistral_cli.finetune.training import Training

        reporter.status("loading the weights")
        network = load_network(plan, strategy, base)
        progress = TrainingProgress(reporter, plan.steps)
        training = Training(plan, strategy, directory, network, progress)
        try:
            history = training.run(directory.newest_checkpoint())
        finally:
            reporter.clear_status()
        training.save(directory.folder)
    return history


@contextmanager
def _library_errors_translated() -> Iterator[None]:
    """Raise the libraries' errors as EngineFailed."""
    try:
        yield
    except (RuntimeError, MemoryError, OSError, ImportError) as error:
        if "out of memory" in str(error).lower() or isinstance(error, MemoryError):
            hint = "Use --gradient-accumulation, or a smaller --batch-size or --max-length."
        else:
            hint = (
                "Use --resume to continue from the last checkpoint; MISTRAL_CLI_DEBUG=1 prints "
                "the traceback."
            )
        raise EngineFailed(f"training failed: {first_line(error)}", hint=hint) from error


def _adapter_name(plan: TrainingPlan) -> str:
    return f"LoRA for {plan.model.name or plan.model_name}, trained on {Path(plan.data.name).name}"
