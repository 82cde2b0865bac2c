"""Reading values without pydantic gives the same results as Typer with pydantic."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.core import TyperCommand
from typer.main import get_command

from mistral_cli.cli.framework import PlainCommand


class End(StrEnum):
    HEAD = "head"
    TAIL = "tail"


def _read(command: type[TyperCommand], *arguments: str) -> Any:
    """Return the values of the command's options, or the error that refuses them."""
    app = typer.Typer(add_completion=False)

    @app.command(cls=command)
    def read(
        texts: Annotated[list[str] | None, typer.Argument()] = None,
        count: Annotated[int | None, typer.Option(min=1, max=10**20)] = None,
        share: Annotated[float | None, typer.Option(min=0.0, max=1.0)] = None,
        clamped: Annotated[int, typer.Option(min=1, max=9, clamp=True)] = 5,
        free: Annotated[float, typer.Option()] = 0.5,
        name: Annotated[str, typer.Option()] = "anyone",
        parsed: Annotated[str, typer.Option(parser=str)] = "x",
        names: Annotated[list[str] | None, typer.Option()] = None,
        numbers: Annotated[list[int] | None, typer.Option(min=2)] = None,
        file: Annotated[list[Path] | None, typer.Option(allow_dash=True)] = None,
        folder: Annotated[Path | None, typer.Option(file_okay=False)] = None,
        real: Annotated[Path | None, typer.Option(exists=True, resolve_path=True)] = None,
        end: Annotated[End | None, typer.Option()] = None,
        any_end: Annotated[End, typer.Option(case_sensitive=False)] = End.TAIL,
        flag: Annotated[bool, typer.Option("--flag/--no-flag")] = False,
    ) -> None:
        pass

    try:
        values = get_command(app).make_context("read", list(arguments)).params
    except Exception as error:
        return type(error), str(error)
    return {name: (type(value), value) for name, value in values.items()}


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["one", "two", ""],
        *([f"--count={n}"] for n in ("1", "64", "0", "-3", "007", "1_000", "1.0", " 5", "x", "٣")),
        ["--count", str(10**19)],
        *([f"--share={n}"] for n in ("0", "0.93", "1", "1.5", "1e-3", ".5", "nan", "inf", "-0")),
        ["--clamped", "100"],
        ["--names", "a", "--names", "b"],
        ["--numbers", "2", "--numbers", "3"],
        ["--numbers", "2", "--numbers", "1"],
        ["--file", __file__, "--file", "-", "--file", "/nowhere/at all"],
        *(["--file", path] for path in ("new", "n" * 999, f"{__file__}/new")),
        ["--folder", "/"],
        ["--folder", __file__],
        ["--real", "."],
        ["--real", "/nowhere"],
        *(["--end", end] for end in ("head", "HEAD", "middle", "")),
        ["--any-end", "HEAD"],
        ["--flag"],
        ["--no-flag", "--unknown"],
    ],
)
def test_every_value_equals_typers(arguments: list[str]) -> None:
    ours, typers = _read(PlainCommand, *arguments), _read(TyperCommand, *arguments)
    if isinstance(typers, tuple) and arguments[0].startswith(("--count", "--share", "--numbers")):
        ours, typers = ours[0], typers[0]  # the message is ours
    assert ours == typers


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--count=x", "'x' is not a whole number from 1 to 100000000000000000000"),
        ("--count=", "'' is not a whole number from 1 to 100000000000000000000"),
        ("--numbers=1", "'1' is not a whole number of at least 2"),
        *((f"--share={n}", f"'{n}' is not a number from 0.0 to 1.0") for n in ("nan", "-1", "1e9")),
        *((f"--free={n}", f"'{n}' is not a number") for n in ("nan", "inf", "-inf", "1e999", "x")),
        *((f"--{option}=", "the value is empty") for option in ("name", "names", "file")),
    ],
)
def test_a_wrong_value_is_named(argument: str, message: str) -> None:
    error, text = _read(PlainCommand, argument)
    assert (error, text) == (typer.BadParameter, message)


def test_an_option_with_a_parser_and_an_argument_may_be_empty() -> None:
    values = _read(PlainCommand, "", "--parsed=")
    assert (values["texts"], values["parsed"]) == ((list, [""]), (str, ""))


def test_plain_values_are_read_without_typers_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("called")

    monkeypatch.setattr("typer.core.build_runtime_param", refuse)
    given = ["a text", "--count=64", "--share=0.93", "--names=b", "--flag", "--end=head"]
    values = _read(PlainCommand, *given, f"--file={__file__}", "--file=new")
    assert values["count"] == (int, 64)
    assert values["file"] == (list, [Path(__file__), Path("new")])
    assert values["end"] == (End, End.HEAD)
    assert _read(PlainCommand, "--count=0") == (AssertionError, "called")
