"""One run from the data to the adapter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.errors import EngineFailed, first_line
from mistral_cli.finetune.adapter_file import write_adapter
from mistral_cli.finetune.data import Data, read_data
from mistral_cli.finetune.encode import encode_examples
from mistral_cli.finetune.extras import check_installed, quiet_libraries
from mistral_cli.finetune.history import History, plot
from mistral_cli.finetune.peft_files import read_lora
from mistral_cli.finetune.plan import Plan, make_plan
from mistral_cli.finetune.progress import Progress
from mistral_cli.finetune.push import share
from mistral_cli.finetune.report import print_plan, print_result
from mistral_cli.finetune.run_dir import Places, places_of
from mistral_cli.finetune.strategy import Way, choose_way, this_device
from mistral_cli.models.gguf import read as read_gguf
from mistral_cli.models.hub.api import download_weights, go_offline
from mistral_cli.models.references import resolve
from mistral_cli.system.config import load as load_config

if TYPE_CHECKING:
    from mistral_cli.finetune.options import TrainingOptions
    from mistral_cli.system.terminal import Terminal


def finetune(path: Path, options: TrainingOptions, terminal: Terminal) -> None:
    """Train an adapter on the rows of the file at `path`, or with --dry-run show the plan.

    Raises every MistralCliError.
    """
    terminal.quiet = options.quiet
    places = places_of(options.output, path)
    data = read_data(path, terminal)
    plan = _plan(data, options, terminal)
    if options.dry_run:
        print_plan(terminal, plan, choose_way(plan, this_device()), as_json=options.json)
        return
    check_installed(nf4=options.nf4)
    base = _base_folder(options, terminal)
    kept = places.open(plan.settings, resume=options.resume, force=options.force)
    with quiet_libraries():
        way = Way(**kept["way"]) if "way" in kept else choose_way(plan, this_device())
        places.keep({"settings": plan.settings, "way": asdict(way)})
        history = _train(plan, way, places, base, terminal)
        write_adapter(read_lora(places.folder, plan.model), plan.model, _name(plan), places.adapter)
        _write_history(history, plan, way, places)
    places.finish()
    print_result(terminal, plan, places, history, as_json=options.json)
    if options.push_to_hub:
        share(options.push_to_hub, places, plan, history, terminal)


def _plan(data: Data, options: TrainingOptions, terminal: Terminal) -> Plan:
    config = load_config(terminal.env)
    if options.offline:
        go_offline()
    reference = options.model or config.model
    model = read_gguf(resolve(reference, config, terminal))
    if data.unused:
        terminal.warn(f"{data.name} has columns that are not used: {', '.join(data.unused)}")
    rows = encode_examples(data, model, options.max_length)
    return make_plan(model, reference, data, rows, options)


def _base_folder(options: TrainingOptions, terminal: Terminal) -> Path | None:
    """The Hugging Face weights to train on, where those are not the GGUF's own."""
    if not options.base:
        return None
    terminal.warn(
        f"the adapter is trained on {options.base}{' in NF4' if options.nf4 else ''} and will run "
        "on the GGUF's weights, which differ: without --base it fits them better"
    )
    folder = Path(options.base).expanduser()
    return folder if folder.is_dir() else download_weights(options.base, terminal)


def _train(plan: Plan, way: Way, places: Places, base: Path | None, terminal: Terminal) -> History:
    terminal.status("loading the trainer")
    with _translated():
        from mistral_cli.finetune.network import load
        from mistral_cli.finetune.training import Training

        terminal.status("loading the weights")
        network = load(plan, way, base)
        training = Training(plan, way, places, network, Progress(terminal, plan.steps))
        try:
            history = training.run(places.checkpoint())
        finally:
            terminal.clear_status()
        training.save(places.folder)
    return history


@contextmanager
def _translated() -> Iterator[None]:
    """The libraries' failures as ours."""
    try:
        yield
    except (RuntimeError, MemoryError, OSError, ImportError) as error:
        if "out of memory" in str(error).lower() or isinstance(error, MemoryError):
            hint = "Use --gradient-accumulation, a smaller --batch-size or --max-length."
        else:
            hint = "--resume goes on where it was; MISTRAL_CLI_DEBUG=1 shows where it happened."
        raise EngineFailed(f"training failed: {first_line(error)}", hint=hint) from error


def _name(plan: Plan) -> str:
    return f"LoRA for {plan.model.name or plan.model_name}, trained on {Path(plan.data.name).name}"


def _write_history(history: History, plan: Plan, way: Way, places: Places) -> None:
    facts = {
        "adapter": str(places.adapter),
        "settings": plan.settings,
        "rows": len(plan.rows),
        "rows_held_out": len(plan.held_out),
        "device": way.device,
        "held_out_loss": {"before": history.before, "after": history.after},
        "verdict": history.verdict(),
    }
    history.write(places.log, facts)
    plot(history, places.plot, f"{Path(plan.data.name).name} on {Path(plan.model_name).name}")
