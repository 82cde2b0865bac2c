"""`mistral-cli models show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mistral_cli.engines.gpu_layers import NONE, GpuLayers
from mistral_cli.system.options import (
    JsonOption,
    ModelArgument,
    OfflineOption,
    PathsOnlyOption,
)
from mistral_cli.system.reporter import Reporter

if TYPE_CHECKING:
    from pathlib import Path

    from mistral_cli.models.gguf import GGUF
    from mistral_cli.models.gguf.adapter import Adapter
    from mistral_cli.system.config import Config

_COUNTS = ("context_length", "gpu_layers")


def show(
    context: typer.Context,
    model: ModelArgument = None,
    context_length: Annotated[
        int | None,
        typer.Option(
            "-c",
            "--context-length",
            min=1,
            metavar="TOKENS",
            help="Context length of the estimate.",
        ),
    ] = None,
    gpu_layers: Annotated[
        GpuLayers,
        typer.Option(
            "-ngl",
            "--gpu-layers",
            metavar="N|auto|all",
            parser=GpuLayers.parse,
            help="GPU layers of the memory estimate.",
        ),
    ] = NONE,
    offline: OfflineOption = False,
    json: JsonOption = False,
    quiet: PathsOnlyOption = False,
) -> None:
    """Print a model's properties and memory needs; of a remote file, only the header is read."""
    from mistral_cli.models.call import prepare_call
    from mistral_cli.models.disk import format_size
    from mistral_cli.system.stdout import write_paths
    from mistral_cli.system.tables import print_facts

    call = prepare_call(context.obj, quiet=quiet, offline=offline)
    config, terminal = call.config, call.terminal
    reference = call.model_name(model)
    if path := _adapter(reference, config):
        if quiet and not json:
            write_paths(terminal, [path])
            return
        facts = {"model": reference, "path": str(path), **_adapter_facts(path, config)}
        print_facts(terminal, facts, as_json=json, show={"size": format_size})
        return
    local, header = _header(reference, config, terminal)
    if quiet and not json:
        write_paths(terminal, [header.path] if local else [])
        return
    facts = {
        "model": reference,
        "path": str(header.path) if local else None,
        **_facts(header, terminal),
    }
    facts["memory"] = _memory(header, context_length, gpu_layers, terminal)
    show = {name: format_size for name in facts["memory"] if name not in _COUNTS}
    print_facts(terminal, facts, as_json=json, show=show)


def _header(reference: str, config: Config, reporter: Reporter) -> tuple[bool, GGUF]:
    """Return True if the file is on this machine, and its header, if necessary from the hub."""
    from mistral_cli.models.gguf import read_gguf
    from mistral_cli.models.lookup import read_remote_header
    from mistral_cli.models.references import parse_reference
    from mistral_cli.models.sources import HubFile, HubRepo
    from mistral_cli.models.store import locate_model
    from mistral_cli.system.files import unchanged_access_time

    source = parse_reference(reference, config)
    if isinstance(source, HubFile | HubRepo) and not source.locate():
        return False, read_remote_header(source, reporter)
    path = locate_model(reference, config)
    with unchanged_access_time(path):
        return True, read_gguf(path)


def _adapter(reference: str, config: Config) -> Path | None:
    """Return the path if the reference names a LoRA adapter on this machine."""
    from mistral_cli.models.gguf.adapter import is_adapter_file
    from mistral_cli.models.references import parse_reference
    from mistral_cli.models.sources import LocalFile

    source = parse_reference(reference, config)
    path = source.locate() if isinstance(source, LocalFile) else None
    return path if path and is_adapter_file(path) else None


def _adapter_facts(path: Path, config: Config) -> dict[str, Any]:
    from mistral_cli.models.gguf.adapter import read_adapter

    adapter = read_adapter(path)
    return {
        "kind": "LoRA adapter (for --lora)",
        "name": adapter.name,
        "architecture": adapter.architecture,
        "rank": adapter.rank,
        "alpha": adapter.alpha,
        "targets": ", ".join(adapter.targets),
        "parameters": adapter.parameters,
        "size": adapter.file_size,
        "default_model": config.model,
        "fits_default_model": _fit(adapter, config),
    }


def _fit(adapter: Adapter, config: Config) -> str:
    """Return "yes", or why the adapter does not fit the default model, or why that is unknown."""
    from mistral_cli.errors import MistralCliError
    from mistral_cli.models.gguf import read_gguf
    from mistral_cli.models.store import locate_model
    from mistral_cli.system.files import unchanged_access_time

    try:
        path = locate_model(config.model, config)
        with unchanged_access_time(path):
            problem = adapter.problem_with(read_gguf(path))
    except MistralCliError as error:
        return f"unknown: {error.message}"
    return f"no: {problem}" if problem else "yes"


def _facts(model: GGUF, reporter: Reporter) -> dict[str, Any]:
    from mistral_cli.engines.registry import verdicts
    from mistral_cli.engines.sampling import FileSampling
    from mistral_cli.models.chat.formats import chat_format

    sampling = FileSampling.of(model)
    sampling.report(reporter)
    return {
        "name": model.name,
        "architecture": model.architecture,
        "parameters": model.parameters,
        "quantization": model.quantization,
        "size": model.file_size,
        "files": len(model.files),
        "context_length": model.context_length,
        "layers": model.block_count,
        "vocabulary": len(model.tokens),
        "tokenizer": model.tokenizer_model,
        "chat_format": chat_format(model) or "none",
        "gguf_version": model.version,
        "sampling": dict(sampling.values),
        "engines": verdicts(model),
    }


def _memory(
    model: GGUF, requested_context: int | None, gpu_layers: GpuLayers, reporter: Reporter
) -> dict[str, int]:
    """Return the lengths, and the bytes that the model needs for them: in total, then by part."""
    from mistral_cli.diagnostics.recommend import CONTEXT, memory_here
    from mistral_cli.diagnostics.recommend_report import memory_fields
    from mistral_cli.engines.hardware.memory import needed
    from mistral_cli.engines.hardware.probe import probe_in_child
    from mistral_cli.models.context import choose_context_length

    tokens = choose_context_length(model, requested_context, CONTEXT, reporter)
    if gpu_layers.automatic:
        layers, memory = memory_here(probe_in_child(), model, tokens)
    else:
        layers = gpu_layers.of(model)
        memory = needed(model, tokens, layers)
    lengths = {"context_length": tokens, "gpu_layers": layers}
    return {**lengths, "ram": memory.ram, "gpu": memory.gpu, **memory_fields(memory)}
