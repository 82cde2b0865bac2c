"""Labels and labelled texts: from an option, or from TXT, CSV, YAML and JSON files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral_cli.errors import UsageError, first_line
from mistral_cli.system.encodings import AUTO, read_supplement
from mistral_cli.texts.tabular import parse_table

if TYPE_CHECKING:
    from mistral_cli.system.reporter import Reporter

_NAMES = ("name", "label")
_SEVERAL = "|"  # separates examples in a cell, and the labels of one text
_TABLES = {".csv", ".tsv", ".tab"}
_FORM = "A label has a name, and may have a description and a list of examples."


@dataclass(frozen=True)
class Label:
    """One of the answers to choose from; `examples` are texts that have this label."""

    name: str
    description: str = ""
    examples: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class LabelledText:
    """A text and the names of its labels."""

    text: str
    labels: tuple[str, ...]


def parse_labels(value: str) -> tuple[Label, ...]:
    """The labels in a list such as 'bug, question, "praise, thanks"'. Raises UsageError."""
    try:
        rows = list(csv.reader([" ".join(value.split())], skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise UsageError(
            f"--labels cannot be read: {error}", hint="Write --labels 'bug, question, praise'."
        ) from error
    return checked(map(Label, (cell for row in rows for cell in row)), "--labels")


def read_labels(path: Path, reporter: Reporter, encoding: str = AUTO) -> tuple[Label, ...]:
    """The labels in a file, by its suffix: a table, YAML, JSON, or a line for each label.

    Raises UsageError.
    """
    text, suffix = _read(path, "--labels-file", reporter, encoding), path.suffix.lower()
    if suffix in _TABLES:
        labels = _labels_of_table(text, path)
    elif suffix in {".json", ".yaml", ".yml"}:
        labels = _labels_of_value(_parsed(text, path), path)
    else:
        lines = (line.strip() for line in text.splitlines())
        labels = [_labels_of_line(line) for line in lines if line and not line.startswith("#")]
    return checked(labels, str(path))


def checked(labels: Iterable[Label], source: str) -> tuple[Label, ...]:
    """The labels with single spaces. Raises UsageError for an empty or repeated name, or none."""
    seen: dict[str, Label] = {}
    for label in labels:
        name = " ".join(label.name.split())
        if not name:
            raise UsageError(f"{source} has an empty label", hint="Give every label a name.")
        if name.casefold() in seen:
            raise UsageError(
                f"{source} has the label {name!r} twice", hint="Give every label its own name."
            )
        description = " ".join(label.description.split())
        seen[name.casefold()] = Label(name, description, label.examples)
    if not seen:
        raise UsageError(f"{source} has no labels", hint="Write --labels 'bug, question, praise'.")
    return tuple(seen.values())


def read_labelled(
    path: Path,
    labels: Sequence[Label],
    option: str,
    reporter: Reporter,
    encoding: str = AUTO,
    *,
    others: bool = False,
    unlabelled: bool = False,
) -> tuple[LabelledText, ...]:
    """The rows of a table with the columns "text" and "label".

    A label is one of `labels`, in upper or lower case; several are separated by "|". With `others`
    a text may have others or none, with `unlabelled` it may have none. Raises UsageError, with
    the line number.
    """
    text = _read(path, option, reporter, encoding)
    header, rows = parse_table([text], str(path), "\t" if path.suffix.lower() != ".csv" else None)
    for column in ("text", "label"):
        if column not in header:
            raise UsageError(
                f"{path} has no column {column!r}; it has {', '.join(map(repr, header))}",
                hint="Name the two columns text and label.",
            )
    names = {label.name.casefold(): label.name for label in labels}
    found = []
    for row in rows:
        if isinstance(row.value, UsageError):
            raise row.value
        if not row.value["text"].strip():
            continue
        cell = _names_in(row.value["label"], names)
        unknown = [each for each in cell if each.casefold() not in names]
        if unknown and not others:
            raise UsageError(
                f"{path}:{row.line} has the label {unknown[0]!r}, which is not one of the labels",
                hint=f"The labels are {', '.join(names.values())}.",
            )
        known = tuple(names[each.casefold()] for each in cell if each.casefold() in names)
        if not (known or others or unlabelled):
            raise UsageError(
                f"{path}:{row.line} has no label", hint="Give the text a label, or drop the row."
            )
        found.append(LabelledText(row.value["text"], known))
    if not found:
        raise UsageError(f"{path} has no rows", hint="Add rows with a text and its label.")
    return tuple(found)


def _names_in(cell: str, names: Mapping[str, str]) -> list[str]:
    """The labels in a cell; a label may itself contain what separates them."""
    whole = " ".join(cell.split())
    if whole.casefold() in names:
        return [whole]
    return [name for each in cell.split(_SEVERAL) if (name := " ".join(each.split()))]


def _read(path: Path, option: str, reporter: Reporter, encoding: str) -> str:
    try:
        return read_supplement(path, reporter, encoding)
    except OSError as error:
        raise UsageError(
            f"the file of {option} cannot be read: {path}: {error.strerror or error}",
            hint="Check its name and permissions.",
        ) from error


def _labels_of_line(line: str) -> Label:
    name, _, description = line.partition(":")
    return Label(name, description)


def _labels_of_table(text: str, path: Path) -> list[Label]:
    delimiter = None if path.suffix.lower() == ".csv" else "\t"
    header, rows = parse_table([text], str(path), delimiter)
    column = next((name for name in _NAMES if name in header), None)
    if column is None:
        raise UsageError(
            f"{path} has no column 'name'; it has {', '.join(map(repr, header))}",
            hint="Name the columns name, description and examples.",
        )
    labels = []
    for row in rows:
        if isinstance(row.value, UsageError):
            raise row.value
        cells = row.value.get("examples", "").split(_SEVERAL)
        examples = tuple(cell.strip() for cell in cells if cell.strip())
        labels.append(Label(row.value[column], row.value.get("description", ""), examples))
    return labels


def _parsed(text: str, path: Path) -> Any:
    try:
        if path.suffix.lower() == ".json":
            return json.loads(text)
        import yaml

        return yaml.safe_load(text)
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, first_line(error)) from error
    except Exception as error:  # yaml's own errors, which have several lines
        raise _unreadable(path, " ".join(str(error).split())) from error


def _unreadable(path: Path, problem: str) -> UsageError:
    kind = "JSON" if path.suffix.lower() == ".json" else "YAML"
    return UsageError(f"{path} is not {kind}: {problem}", hint=_FORM)


def _labels_of_value(value: Any, path: Path) -> list[Label]:
    if isinstance(value, Mapping) and set(value) == {"labels"}:
        value = value["labels"]
    if isinstance(value, Mapping):
        value = [
            {"name": name, **(more if isinstance(more, Mapping) else {"description": more})}
            for name, more in value.items()
        ]
    if not isinstance(value, list):
        raise UsageError(f"{path} is not a list of labels", hint=_FORM)
    return [_label_of(each, path) for each in value]


def _label_of(value: Any, path: Path) -> Label:
    if not isinstance(value, Mapping):
        value = {"name": value}
    unknown = sorted(set(map(str, value)) - {"name", "description", "examples"})
    examples = value.get("examples") or []
    simple = (value.get("name"), value.get("description"))
    if unknown or not isinstance(examples, list) or any(isinstance(e, dict | list) for e in simple):
        problem = f"an unknown key {unknown[0]!r}" if unknown else "a key of another form"
        raise UsageError(f"{path} has a label with {problem}", hint=_FORM)
    name, description = ("" if each is None else _text(each) for each in simple)
    return Label(name, description, tuple(map(_text, examples)))


def _text(value: Any) -> str:
    # In YAML the label `no` is false unless it is quoted.
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
