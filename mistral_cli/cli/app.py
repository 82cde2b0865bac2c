"""The program: its commands, and the one place where errors become exit codes."""

from __future__ import annotations

import gc
import os
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException
from typer.main import get_command

from mistral_cli import __version__
from mistral_cli.cli.framework import WIDTH, LazyGroup, explain_usage_error
from mistral_cli.errors import ExitCode, MistralCliError, limit_reached
from mistral_cli.system.files import remove_leftovers
from mistral_cli.system.signals import StopRequested, stoppable, watch
from mistral_cli.system.terminal import Terminal
from mistral_cli.tasks import TASKS

COMMANDS = {
    "batch": "mistral_cli.cli.commands.batch:batch",
    "evaluate": "mistral_cli.cli.commands.evaluate:evaluate",
    "finetune": "mistral_cli.cli.commands.finetune:finetune",
    "serve": "mistral_cli.cli.commands.serve:serve",
    "models": "mistral_cli.cli.commands.models:models",
    "prompts": "mistral_cli.cli.commands.prompts:prompts",
    "cache": "mistral_cli.cli.commands.cache:cache",
    "doctor": "mistral_cli.cli.commands.doctor:doctor",
    "bench": "mistral_cli.cli.commands.bench:bench",
    "engines": "mistral_cli.cli.commands.engines:engines",
}
"""The commands that are not tasks: name → `module:function`."""

# Python's default of 700 makes it collect again and again during the imports, which leave no
# garbage: 7 ms.
_OBJECTS_BETWEEN_COLLECTIONS = 50_000

_DEBUG = "MISTRAL_CLI_DEBUG"
"""The variable that adds the traceback to every error."""


class Program(LazyGroup):
    """The root command."""

    targets = TASKS | COMMANDS

    def as_command(self, name: str, function: Callable[..., Any]) -> Callable[..., None]:
        """Return what to call for `name`: for a task, a command that runs it."""
        if name not in TASKS:
            return function
        from mistral_cli.cli.commands.tasks import one_off_command

        return one_off_command(function)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        ctx.obj = ctx.obj or Terminal.from_process()
        try:
            with stoppable():
                return super().invoke(ctx)
        except StopRequested as stopped:
            raise typer.Exit(128 + stopped.number) from stopped


def _epilog() -> str:
    lines = [f"{code.value:>3}  {code.meaning}" for code in ExitCode]
    return "\n".join(["\b", "Exit codes:", *lines])  # \b makes click keep the lines


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mistral-cli {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=Program,
    no_args_is_help=True,
    epilog=_epilog(),
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": WIDTH},
)


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Run quantized GGUF models: generate, translate, summarize, extract JSON."""


def main() -> None:
    """Run the program and end the process."""
    terminal = Terminal.from_process()  # first: it sees that no pipe becomes a closed stream
    watch()
    report_unhandled(terminal)
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    status = run(sys.argv[1:], terminal)
    terminal.clear_status()
    _end(status)


def report_unhandled(terminal: Terminal) -> None:
    """Report what Python would print on stderr as it is: warnings, and errors in threads."""
    warnings.showwarning = lambda message, *_, **__: terminal.note(f"warning: {message}")
    threading.excepthook = lambda ended: ended.exc_value and _report(terminal, ended.exc_value)


def run(arguments: list[str], terminal: Terminal) -> int:
    """Run the command line, report its error if it fails, and return the exit code."""
    try:
        command = get_command(app)
        # Typer returns the code of its `Exit`.
        return command.main(arguments, obj=terminal, standalone_mode=False) or ExitCode.SUCCESS
    except SystemExit as end:  # the completion of a shell
        return end.code if isinstance(end.code, int) else ExitCode.FAILURE
    except BrokenPipeError:  # the reader has had enough, as `| head -1` does
        return ExitCode.SUCCESS
    except TyperException as error:
        if not (usage := explain_usage_error(error)):  # a group without a command: its help page
            for line in error.format_message().splitlines():
                terminal.error_detail(line)
            return ExitCode.USAGE
        return _report(terminal, usage)
    except Exception as error:
        return _report(terminal, error)


def _report(terminal: Terminal, error: BaseException) -> ExitCode:
    ours = _explained(error)
    trace = ""
    if _DEBUG in os.environ:
        import traceback

        trace = "".join(traceback.format_exception(error))
    terminal.error(ours.message, ours.hint, ours.details + trace)
    return ours.exit_code


def _explained(error: BaseException) -> MistralCliError:
    if isinstance(error, MistralCliError):
        return error
    if isinstance(error, OSError) and error.errno is not None:
        return _system_error(error)
    if limit := limit_reached(error):
        return limit
    hint = f"This is a bug in mistral-cli. {_DEBUG}=1 shows where it happened."
    return MistralCliError(f"{type(error).__name__}: {error}", hint=hint)


def _system_error(error: OSError) -> MistralCliError:
    """Return our error for one of the system that no command expects, such as a full disk."""
    try:
        Path.cwd()
    except FileNotFoundError:
        hint = "Change to a folder that exists, such as: cd ~"
        return MistralCliError("the current folder has been deleted", hint=hint)
    name = "" if error.filename is None else f": {os.fsdecode(error.filename)}"
    hint = "Check the disk, the permissions and the limits (ulimit -a)."
    return MistralCliError(f"{error.strerror}{name}", hint=hint)


def _end(status: int) -> None:
    """End the process at once.

    Python's own shutdown takes 20 ms, and it runs the destructors of native libraries, which
    must neither free what a thread still uses nor wait for that thread.
    """
    remove_leftovers()  # of a clean-up that a stop signal interrupted
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream and not stream.closed:
                stream.flush()
        except BrokenPipeError:
            pass
        except OSError:  # what was not flushed before, such as a help page, is lost
            status = status or ExitCode.FAILURE
    os._exit(status)
