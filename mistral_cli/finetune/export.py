"""An adapter that is there already → a GGUF adapter, or a model that has it in its weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.errors import UsageError
from mistral_cli.finetune.adapter_file import write_adapter
from mistral_cli.finetune.extras import check_installed, quiet_libraries
from mistral_cli.finetune.merge import write_merged
from mistral_cli.finetune.peft_files import read_lora
from mistral_cli.models.gguf import read as read_gguf
from mistral_cli.models.hub.api import go_offline
from mistral_cli.models.references import resolve
from mistral_cli.system.config import load as load_config
from mistral_cli.system.stdout import write_paths

if TYPE_CHECKING:
    from mistral_cli.finetune.merged_type import MergedType
    from mistral_cli.system.terminal import Terminal


def export_adapter(
    adapter: Path,
    reference: str | None,
    output: Path | None,
    merge: MergedType | None,
    terminal: Terminal,
    *,
    force: bool,
    offline: bool,
) -> None:
    """Write what is asked for and print its path. Raises every MistralCliError."""
    if not adapter.exists():
        raise UsageError(f"{adapter} does not exist", hint="Give a folder of PEFT's, or a GGUF.")
    destination = output or _default(adapter, merge)
    if destination.exists() and not force:
        raise UsageError(
            f"{destination} is there already", hint="Use another -o, or --force to replace it."
        )
    check_installed()
    if offline:
        go_offline()
    config = load_config(terminal.env)
    name = reference or config.model
    model = read_gguf(resolve(name, config, terminal))
    with quiet_libraries():
        lora = read_lora(adapter, model)
        if merge:
            write_merged(model, lora, merge, destination, terminal.status)
        else:
            write_adapter(lora, model, f"LoRA for {model.name or name}", destination)
    terminal.clear_status()
    write_paths(terminal, [destination])


def _default(adapter: Path, merge: MergedType | None) -> Path:
    name = adapter.resolve().stem if adapter.suffix == ".gguf" else adapter.resolve().name
    return Path(f"{name}.{merge.upper()}.gguf" if merge else f"{name}.gguf")
