"""The configurations of an evaluation: each model with each template, and its results file."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from mistral_cli.errors import UsageError
from mistral_cli.system.config import cache_dir

_UNSAFE = re.compile(r"[^\w.+-]+")
_LONGEST_NAME = 100
_DIGITS = 8


@dataclass(frozen=True)
class Configuration:
    """What is evaluated: a model and a template (None: the task's own), under a short name.

    `results` is the file with its answers. A baseline has only that and what its records say.
    """

    name: str
    model: str
    template: str | None
    results: Path
    is_baseline: bool = False


def configurations(
    models: Sequence[str], templates: Sequence[str], folder: Path
) -> list[Configuration]:
    """Every model with every template, in the order of the options. Raises UsageError."""
    for option, values in (("-m", models), ("--template", templates)):
        for value, number in Counter(values).items():
            if number > 1:
                raise UsageError(f"{option} {value} is there twice", hint="Drop one of them.")
    pairs = list(product(models, templates or (None,)))
    short = [_name(_short(model), template and _short(template)) for model, template in pairs]
    if len({_file(name) for name in short}) < len(short):
        short = [_name(model, template) for model, template in pairs]
    files = [_file(name) for name in short]
    if len(set(files)) < len(files):
        files = [f"{number}-{file}" for number, file in enumerate(files, start=1)]
    return [
        Configuration(name, model, template, folder / file)
        for (model, template), name, file in zip(pairs, short, files, strict=True)
    ]


def results_folder(task: str, data: Path) -> Path:
    """The folder for the answers about a file, if the user names none: the same in every run."""
    path = str(data.resolve())
    digest = hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:_DIGITS]
    name = _UNSAFE.sub("-", data.stem)[:_LONGEST_NAME]
    return cache_dir() / "evaluations" / f"{task}-{name}-{digest}"


def _name(model: str, template: str | None) -> str:
    return f"{model} + {template}" if template else model


def _short(reference: str) -> str:
    """The name of a file without folders and suffix; another reference as it is."""
    path = Path(reference)
    return path.stem if path.suffix in (".gguf", ".txt") else reference


def _file(name: str) -> str:
    return _UNSAFE.sub("-", name.replace(" + ", "+")).strip("-.")[-_LONGEST_NAME:] + ".jsonl"
