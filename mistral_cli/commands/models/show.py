"""`mistral-cli models show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from mistral_cli.options import JsonOption, ModelArgument

if TYPE_CHECKING:
    from mistral_cli.config import Config
    from mistral_cli.gguf import GGUF


def register(group: typer.Typer) -> None:
    """Add the command to the group."""
    group.command()(show)


def show(
    context: typer.Context,
    model: ModelArgument = None,
    json: JsonOption = False,
) -> None:
    """Print what a model is and which engines can run it; downloads no more than its header."""
    from mistral_cli.config import load
    from mistral_cli.output.tables import print_facts

    config = load(context.obj.env)
    reference = model or config.model
    here, header = _header(reference, config)
    facts = {"model": reference, "path": str(header.path) if here else None, **_facts(header)}
    print_facts(context.obj, facts, as_json=json)


def _header(reference: str, config: Config) -> tuple[bool, GGUF]:
    """Whether the file is on this machine, and its header, from the hub if need be."""
    from mistral_cli.gguf import read
    from mistral_cli.models.references import parse
    from mistral_cli.models.sources import HubFile, HubRepo
    from mistral_cli.models.store import locate, unchanged_access_time
    from mistral_cli.models.unfetched import read_header

    source = parse(reference, config)
    if isinstance(source, HubFile | HubRepo) and not source.locate():
        return False, read_header(source)
    path = locate(reference, config)
    with unchanged_access_time(path):
        return True, read(path)


def _facts(model: GGUF) -> dict[str, Any]:
    from mistral_cli.engines import verdicts
    from mistral_cli.instruct.formats import chat_format

    return {
        "name": model.name,
        "architecture": model.architecture,
        "parameters": model.parameters,
        "quantization": model.quantization,
        "size": model.file_size,
        "context_length": model.context_length,
        "layers": model.block_count,
        "vocabulary": len(model.tokens),
        "tokenizer": model.tokenizer_model,
        "chat_format": chat_format(model) or "none",
        "gguf_version": model.version,
        "engines": verdicts(model),
    }
