"""The program: its commands, and the one place where errors become exit codes."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
from typing import Annotated, Any

import typer

from mistral_cli import __version__
from mistral_cli.commands import Commands
from mistral_cli.errors import ExitCode, MistralCliError
from mistral_cli.help_pages import WIDTH
from mistral_cli.terminal import Terminal, drop_the_rest


class ErrorBoundary(Commands):
    """Turns our errors into a message on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        terminal = ctx.obj = ctx.obj or Terminal.from_process()
        try:
            return super().invoke(ctx)
        except MistralCliError as error:
            terminal.error(error.message, error.hint, error.details)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as interrupt:
            terminal.clear_status()
            raise typer.Exit(ExitCode.INTERRUPTED) from interrupt
        except BrokenPipeError as error:
            # `| head -1` has had what it wanted.
            raise typer.Exit(ExitCode.SUCCESS) from error


def _epilog() -> str:
    lines = [f"{code.value:>3}  {code.meaning}" for code in ExitCode]
    return "\n".join(["\b", "Exit codes:", *lines])  # \b: click keeps the lines


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mistral-cli {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=ErrorBoundary,
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
        hint = "This is a bug. MISTRAL_CLI_DEBUG=1 shows where it happened."
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:  # the help, redirected
            hint = "Free the disk behind stdout."
            drop_the_rest(sys.stdout)
        Terminal.from_process().error(f"{type(error).__name__}: {error}", hint)
        _end(ExitCode.FAILURE)


def _end(status: int) -> None:
    """End the process, at once where native code may still compute.

    Its libraries' destructors must not run under it, nor wait for it.
    """
    computing = status in (ExitCode.INTERRUPTED, ExitCode.TERMINATED)
    if computing or any(thread.name == "engine" for thread in threading.enumerate()):
        for stream in (sys.stdout, sys.stderr):
            if stream:
                with contextlib.suppress(OSError):
                    stream.flush()
        os._exit(status)
    sys.exit(status)
