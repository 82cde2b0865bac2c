"""What a run will be, and what it was, for a person or as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mistral_cli.finetune.strategy import Way, seconds
from mistral_cli.models.progress import format_size
from mistral_cli.system.stdout import write_envelope, write_paths
from mistral_cli.system.tables import print_facts

if TYPE_CHECKING:
    from mistral_cli.finetune.history import History
    from mistral_cli.finetune.plan import Plan
    from mistral_cli.finetune.run_dir import Places
    from mistral_cli.system.terminal import Terminal


def print_plan(terminal: Terminal, plan: Plan, way: Way, *, as_json: bool) -> None:
    """Rows, tokens, steps, memory and time, before anything is trained."""
    expected = seconds(plan, way)
    facts: dict[str, Any] = {
        "data": plan.data.name,
        "rows": plan.data.rows,
        "rows_trained_on": len(plan.rows),
        "rows_held_out": len(plan.held_out),
        "tokens": plan.tokens,
        "tokens_learned": sum(len(row.completion) for row in plan.rows),
        "longest_row": plan.longest,
        "model": plan.model_name,
        "weights": "packed" if way.packed else "unpacked",
        "target_modules": ",".join(plan.modules),
        "trained_parameters": plan.trained_parameters,
        "learning_rate": plan.learning_rate,
        "epochs": plan.options.epochs,
        "batch_size": plan.batch_size,
        "gradient_accumulation": way.parts,
        "steps": plan.steps,
        "device": way.device,
        "memory": way.memory,
        "seconds": None if expected is None else round(expected),
    }
    show = {"memory": format_size, "seconds": _duration}
    print_facts(terminal, facts, as_json=as_json, show=show)


def print_result(
    terminal: Terminal, plan: Plan, places: Places, history: History, *, as_json: bool
) -> None:
    """Where the adapter is and whether it is worth anything."""
    terminal.note(history.verdict())
    terminal.note(f"curve {places.plot}, log {places.log}, PEFT adapter {places.folder}")
    if not as_json:
        write_paths(terminal, [places.adapter])
        return
    write_envelope(
        terminal,
        {
            "adapter": str(places.adapter),
            "peft_adapter": str(places.folder),
            "plot": str(places.plot),
            "log": str(places.log),
            "steps": plan.steps,
            "held_out_loss": {"before": history.before, "after": history.after},
            "verdict": history.verdict(),
            "seconds": history.seconds,
        },
    )


def _duration(value: float | None) -> str:
    if value is None:
        return "not known on a GPU"
    minutes = round(value / 60)
    if value < 90:
        return f"about {value:.0f} seconds"
    return f"about {minutes} minutes" if minutes < 90 else f"about {value / 3600:.1f} hours"
