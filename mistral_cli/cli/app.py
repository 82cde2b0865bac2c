"""The program: its commands, and the one place where errors become exit codes."""

from __future__ import annotations

import errno
import gc
import os
import sys
from typing import Annotated, Any

import typer

from mistral_cli import __version__
from mistral_cli.cli.commands import Commands
from mistral_cli.cli.help_pages import WIDTH
from mistral_cli.errors import ExitCode, MistralCliError
from mistral_cli.system.terminal import Terminal, drop_the_rest

# Python's 700 have it look for garbage all through the imports, where there is none: 7 ms.
_OBJECTS_BETWEEN_COLLECTIONS = 50_000


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
        hint = "This is a bug. MISTRAL_CLI_DEBUG=1 shows where it happened."
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:  # the help, redirected
            hint = "Free the disk behind stdout."
            drop_the_rest(sys.stdout)
        Terminal.from_process().error(f"{type(error).__name__}: {error}", hint)
        _end(ExitCode.FAILURE)


def _end(status: int) -> None:
    """End the process at once.

    To take Python apart takes 20 ms, and destructors of native libraries must not run under
    what still computes, nor wait for it.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream and not stream.closed:
                stream.flush()
        except BrokenPipeError:
            pass
        except OSError:  # whatever was not flushed before, such as a page of help, is lost
            status = status or ExitCode.FAILURE
    os._exit(status)
