"""Bring an adapter to the model hub, with a page that says what it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.models.hub.upload import upload

if TYPE_CHECKING:
    from mistral_cli.finetune.history import History
    from mistral_cli.finetune.plan import Plan
    from mistral_cli.finetune.run_dir import Places
    from mistral_cli.system.terminal import Terminal

_PEFT_FILES = ("adapter_config.json", "adapter_model.safetensors")


def share(repo: str, places: Places, plan: Plan, history: History, terminal: Terminal) -> None:
    """Upload the adapter in both forms, its curve, its log and a page to `repo`.

    Raises ModelNotAvailable where the hub does not take them; the files here stay.
    """
    paths = [places.adapter, places.plot, places.log, *(places.folder / n for n in _PEFT_FILES)]
    files: dict[str, Path | bytes] = {path.name: path for path in paths}
    files["README.md"] = _page(places, plan, history).encode()
    url = upload(files, repo, "LoRA adapter by mistral-cli", terminal)
    terminal.note(f"uploaded to {url}")


def _page(places: Places, plan: Plan, history: History) -> str:
    return f"""---
library_name: peft
tags: [lora, gguf]
---
# {places.adapter.stem}

A LoRA adapter for `{plan.options.base or plan.model_name}`, trained with `mistral-cli finetune` on
{len(plan.rows)} rows for {plan.options.epochs} epochs. {history.verdict().capitalize()}.

With llama.cpp: `{places.adapter.name}`, beside the model it was trained on
(`mistral-cli generate --lora {places.adapter.name} -m {plan.model_name} "..."`). With PEFT: the
folder itself.
"""
