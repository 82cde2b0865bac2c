"""The program: its commands, and the one place where errors become exit codes."""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from mistral_cli import __version__
from mistral_cli.cli.framework import WIDTH, LazyGroup
from mistral_cli.errors import ExitCode, MistralCliError
from mistral_cli.system.files import remove_leftovers
from mistral_cli.system.signals import StopRequested, stoppable, watch
from mistral_cli.system.terminal import Terminal, drop_the_rest
from mistral_cli.tasks import TASKS

COMMANDS = {
    "batch": "mistral_cli.cli.commands.batch:batch",
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


class Program(LazyGroup):
    """The root command; it turns our errors into a message on stderr and an exit code."""

    targets = TASKS | COMMANDS

    def as_command(self, name: str, function: Callable[..., Any]) -> Callable[..., None]:
        """Return what to call for `name`: for a task, a command that runs it."""
        if name not in TASKS:
            return function
        from mistral_cli.cli.commands.tasks import one_off_command

        return one_off_command(function)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        terminal = ctx.obj = ctx.obj or Terminal.from_process()
        try:
            with stoppable():
                return super().invoke(ctx)
        except MistralCliError as error:
            terminal.error(error.message, error.hint, error.details)
            raise typer.Exit(error.exit_code) from error
        except StopRequested as stopped:
            terminal.clear_status()
            raise typer.Exit(128 + stopped.number) from stopped
        except BrokenPipeError as error:
            # The reader has had enough, as `| head -1` does.
            raise typer.Exit(ExitCode.SUCCESS) from error


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
    watch()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    try:
        app()
    except SystemExit as end:
        _end(end.code if isinstance(end.code, int) else ExitCode.FAILURE)
    except BrokenPipeError:
        drop_the_rest(sys.stdout)
        _end(ExitCode.SUCCESS)
    except Exception as error:
        if "MISTRAL_CLI_DEBUG" in os.environ:
            raise
        hint = "This is a bug in mistral-cli. MISTRAL_CLI_DEBUG=1 shows where it happened."
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:  # a redirected help page
            hint = "Free space on the disk that stdout is redirected to."
            drop_the_rest(sys.stdout)
        Terminal.from_process().error(f"{type(error).__name__}: {error}", hint)
        _end(ExitCode.FAILURE)


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
