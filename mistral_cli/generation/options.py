"""The options of the tasks: of all that open a model, of every task, of those with one answer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mistral_cli.engines.options import ModelOptions
from mistral_cli.system.options import (
    MODEL,
    OUTPUT,
    PROMPT,
    SAMPLING,
    JsonOption,
    QuietOption,
    VerboseOption,
    option,
)


def _no_nan(value: float | None) -> float | None:
    """NaN passes every comparison with a limit."""
    if value is not None and math.isnan(value):
        raise typer.BadParameter("nan is not a number")
    return value


class Overflow(StrEnum):
    """What to do with a text that does not fit the context."""

    ERROR = "error"
    HEAD = "head"
    TAIL = "tail"
    SPLIT = "split"


@dataclass(frozen=True, kw_only=True)
class TaskOptions(ModelOptions):
    """What a user may set on every task; None leaves it to the template or the model."""

    max_tokens: Annotated[
        int | None,
        option(
            "-n",
            "--max-tokens",
            panel=SAMPLING,
            min=1,
            metavar="N",
            help="Longest answer in tokens.",
        ),
    ] = None
    temperature: Annotated[
        float | None,
        option(
            "--temperature",
            panel=SAMPLING,
            min=0.0,
            max=100.0,
            callback=_no_nan,
            metavar="T",
            help="0 is greedy.",
        ),
    ] = None
    top_k: Annotated[
        int | None, option("--top-k", panel=SAMPLING, min=0, metavar="K", help="0 is off.")
    ] = None
    top_p: Annotated[
        float | None,
        option(
            "--top-p",
            panel=SAMPLING,
            min=0.0,
            max=1.0,
            callback=_no_nan,
            metavar="P",
            help="1 is off.",
        ),
    ] = None
    repetition_penalty: Annotated[
        float | None,
        option(
            "--repetition-penalty",
            panel=SAMPLING,
            min=0.01,
            max=100.0,
            callback=_no_nan,
            metavar="R",
            help="1 is off.",
        ),
    ] = None
    seed: Annotated[
        int | None,
        option(
            "--seed",
            panel=SAMPLING,
            min=0,
            max=2**31 - 1,
            metavar="N",
            help="The same seed gives the same text (default: a new one).",
        ),
    ] = None
    stop: Annotated[
        list[str] | None,
        option("--stop", panel=SAMPLING, metavar="TEXT", help="End before TEXT (repeatable)."),
    ] = None
    system: Annotated[
        str | None, option("-s", "--system", panel=PROMPT, metavar="TEXT", help="System text.")
    ] = None
    template: Annotated[
        str | None,
        option("--template", panel=PROMPT, metavar="FILE|NAME", help="Another prompt template."),
    ] = None
    param: Annotated[
        list[str] | None,
        option(
            "-p",
            "--param",
            panel=PROMPT,
            metavar="KEY=VALUE",
            help="Set a parameter of the template (repeatable).",
        ),
    ] = None
    no_cache: Annotated[
        bool,
        option(
            "--no-cache",
            panel=MODEL,
            help="Keep nothing of the prompt on disk, and use nothing kept.",
        ),
    ] = False
    raw: Annotated[
        bool,
        option("--raw", panel=PROMPT, help="Send the text as it is: no template, no format."),
    ] = False
    overflow: Annotated[
        Overflow | None,
        option(
            "--overflow",
            panel=PROMPT,
            help="What to do with a text that does not fit: refuse it, keep its beginning or "
            "its end, or split it (default: split to summarize and translate, else error).",
        ),
    ] = None
    dry_run: Annotated[
        bool,
        option("--dry-run", panel=OUTPUT, help="Print the exact prompt and run nothing."),
    ] = False
    quiet: QuietOption = False
    verbose: VerboseOption = False


@dataclass(frozen=True, kw_only=True)
class OneOffOptions(TaskOptions):
    """What can be said besides where texts are answered one at a time."""

    no_serve: Annotated[
        bool,
        option(
            "--no-serve",
            panel=MODEL,
            help="Load the model, also where `mistral-cli serve` has it loaded.",
        ),
    ] = False
    lookup: Annotated[
        bool,
        option(
            "--lookup",
            panel=MODEL,
            help="Guess what the answer copies from the text: faster where it copies much. "
            "Of two tokens that are nearly as likely it may take the other.",
        ),
    ] = False
    draft_model: Annotated[
        str | None,
        option(
            "--draft-model",
            panel=MODEL,
            metavar="MODEL",
            help="A small model with the same vocabulary that guesses ahead, as --lookup does.",
        ),
    ] = None
    file: Annotated[
        list[Path] | None,
        option(
            "-f",
            "--file",
            panel=PROMPT,
            metavar="FILE",
            allow_dash=True,
            help="Read text from FILE, - for stdin (repeatable).",
        ),
    ] = None
    json: JsonOption = False
    width: Annotated[
        int | None,
        option(
            "--width",
            panel=OUTPUT,
            min=0,
            metavar="COLUMNS",
            help="Wrap at COLUMNS on a terminal (default: its width, at most 120; 0 is off).",
        ),
    ] = None
