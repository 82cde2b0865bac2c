"""`mistral-cli engines`: list the engines, and build llama.cpp for this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mistral_cli.cli.framework import PlainGroup
from mistral_cli.system.options import JsonOption, QuietOption

if TYPE_CHECKING:
    from mistral_cli.engines.hardware.probe import EngineState

group = typer.Typer(cls=PlainGroup, no_args_is_help=True)

_TITLES = {"name": "engine", "version": "version", "usable": "usable", "gpu": "GPU"}


@group.callback()
def engines() -> None:
    """List the engines, and build llama.cpp for this machine."""


@group.command("list")
def list_engines(context: typer.Context, json: JsonOption = False) -> None:
    """List the engines in the order in which `auto` prefers them, and what each can use."""
    from mistral_cli.engines.hardware.probe import probe_in_child
    from mistral_cli.engines.registry import backend
    from mistral_cli.system.tables import print_table

    report = probe_in_child()
    rows = [_fields(name, state, backend(name).note()) for name, state in report.engines.items()]
    print_table(context.obj, "engines", rows, _TITLES, as_json=json, shrink="usable")


@group.command()
def build(
    context: typer.Context,
    cmake: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- CMAKE OPTIONS]", help="Passed to cmake.", show_default=False),
    ] = None,
    sdist: Annotated[
        Path | None,
        typer.Option(
            "--sdist",
            metavar="FILE",
            help="Source distribution of llama-cpp-python (default: pip downloads it).",
            show_default=False,
        ),
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(
            "--into",
            metavar="FOLDER",
            help="Where to put the build (default: where the program looks for it).",
            show_default=False,
        ),
    ] = None,
    tools: Annotated[
        bool,
        typer.Option("--tools", help="Also build llama-bench, llama-completion, llama-quantize."),
    ] = False,
    cuda: Annotated[
        bool, typer.Option("--cuda", help="Build for this machine's NVIDIA GPUs too; needs nvcc.")
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(
            "-j",
            "--jobs",
            min=1,
            metavar="N",
            help="Compilers to run at once (default: the cores this process may use).",
            show_default=False,
        ),
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Compile in this folder and keep it: a build that was stopped continues there.",
            show_default=False,
        ),
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Compile llama.cpp for this machine's own instructions; `auto` then prefers that build.

    Needs Linux, cmake and a C++ compiler, and takes some minutes. A build that is stopped leaves
    the earlier one in use.
    """
    from mistral_cli.engines.llama_cpp.build import BuildOptions
    from mistral_cli.engines.llama_cpp.build import build as build_llama_cpp
    from mistral_cli.engines.llama_cpp.machine_build import native_folder
    from mistral_cli.system.machine import usable_cores

    terminal = context.obj
    terminal.quiet = quiet
    options = BuildOptions(jobs or usable_cores(), sdist, tools, cuda, tuple(cmake or ()), work)
    build_llama_cpp(options, into or native_folder(), terminal.note)


def _fields(name: str, state: EngineState, note: str | None) -> dict[str, Any]:
    usable = f"no: {state.missing}" if state.missing else "yes"
    return {
        "name": name,
        "package": state.package or None,
        "version": state.version,
        "usable": f"{usable}; {note}" if note and not state.missing else usable,
        "gpu": "; ".join(gpu.name for gpu in state.gpus) or f"no: {state.no_gpu}",
    }
