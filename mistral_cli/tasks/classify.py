"""Choose the label that fits a text, by the probability of each label."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mistral_cli.generation.classification.strategy import ClassifyOptions, ClassifyStrategy
from mistral_cli.generation.task import Task

if TYPE_CHECKING:
    from mistral_cli.system.reporter import Reporter


def _option(*names: str, help: str, **kwargs: Any) -> Any:
    return typer.Option(*names, help=help, show_default=False, **kwargs)


def classify(
    labels: Annotated[
        str | None,
        _option("--labels", metavar="LIST", help="Labels, such as 'bug, question, praise'."),
    ] = None,
    labels_file: Annotated[
        Path | None,
        _option(
            "--labels-file",
            metavar="FILE",
            help="Labels with descriptions and examples: TXT, CSV, YAML or JSON.",
        ),
    ] = None,
    multi: Annotated[
        bool, _option("--multi", help="Decide for each label by itself: several may fit, or none.")
    ] = False,
    top: Annotated[
        int | None,
        _option("--top", metavar="N", min=1, help="Print the N likeliest, with probabilities."),
    ] = None,
    threshold: Annotated[
        float | None,
        _option(
            "--threshold",
            metavar="P",
            min=0.0,
            max=1.0,
            help="Least probability of a label (default: 0.5 with --multi, else none).",
        ),
    ] = None,
    otherwise: Annotated[
        str | None,
        _option("--otherwise", metavar="WORD", help="Print WORD if no label reaches P."),
    ] = None,
    examples: Annotated[
        Path | None,
        _option(
            "--examples",
            metavar="FILE",
            help="Show examples to the model: CSV with the columns text and label.",
        ),
    ] = None,
    explain: Annotated[
        bool, _option("--explain", help="Print a sentence with the reason after the label.")
    ] = False,
    calibrate: Annotated[
        bool,
        _option(
            "--calibrate/--no-calibrate",
            help="Correct the model's bias by its answers to neutral texts (default: on).",
        ),
    ] = True,
    calibration: Annotated[
        Path | None,
        _option(
            "--calibration",
            metavar="FILE",
            help="Learn temperature and thresholds from a CSV with the columns text and label, or "
            "use a saved calibration (.json).",
        ),
    ] = None,
    save_calibration: Annotated[
        Path | None,
        _option("--save-calibration", metavar="FILE", help="Save what --calibration learned."),
    ] = None,
    both_orders: Annotated[
        bool,
        _option(
            "--both-orders",
            help="Show the labels in the reverse order too, and average: twice the work, more "
            "exact.",
        ),
    ] = False,
) -> Task:
    """Choose the label that fits a text, by the probability of each label."""
    _check_labels(labels, labels_file)
    _check_bounds(threshold, otherwise, multi=multi, calibrated=calibration is not None)
    _check_output(top, calibration, save_calibration, explain=explain)
    options = ClassifyOptions(
        multi=multi,
        top=top,
        threshold=threshold,
        explains=explain,
        orders=2 if both_orders else 1,
        calibrates=calibrate,
        save_to=save_calibration,
    )
    # Texts on the command line are decoded before `read_files` is called.
    texts = {"labels": labels, "otherwise": otherwise}
    values = {name: text for name, text in texts.items() if text is not None}
    read = partial(_with_files, labels_file, examples, calibration)
    return Task("classify", values, strategy=ClassifyStrategy(options), read_files=read)


def _check_labels(labels: str | None, labels_file: Path | None) -> None:
    from mistral_cli.errors import UsageError

    if (labels is None) == (labels_file is None):
        both = "--labels and --labels-file cannot be combined"
        raise UsageError(
            both if labels_file else "there are no labels",
            hint="Write --labels 'bug, question, praise'.",
        )


def _check_bounds(
    threshold: float | None, otherwise: str | None, *, multi: bool, calibrated: bool
) -> None:
    """Refuse a least probability or a word for none of the labels that would have no effect."""
    from mistral_cli.errors import UsageError

    if threshold is not None and not multi and otherwise is None:
        raise UsageError(
            "--threshold needs --otherwise or --multi",
            hint="Add --otherwise unknown, for texts whose label is less likely.",
        )
    if otherwise is not None and not (multi or calibrated) and threshold is None:
        raise UsageError(
            "--otherwise needs --threshold, --multi or --calibration",
            hint="Add --threshold 0.5, the least probability of a label.",
        )


def _check_output(
    top: int | None, calibration: Path | None, save_to: Path | None, *, explain: bool
) -> None:
    from mistral_cli.errors import UsageError

    if explain and top is not None:
        raise UsageError("--explain and --top cannot be combined", hint="Drop one of them.")
    is_saved = calibration is not None and calibration.suffix.lower() == ".json"
    if save_to and (calibration is None or is_saved):
        raise UsageError(
            "--save-calibration needs a table to learn from", hint="Add --calibration FILE.csv."
        )


def _with_files(
    labels_file: Path | None,
    examples: Path | None,
    calibration: Path | None,
    task: Task,
    reporter: Reporter,
    encoding: str,
) -> Task:
    """The task with its labels, examples and calibration. Raises UsageError."""
    from mistral_cli.errors import UsageError
    from mistral_cli.generation.classification.prompts import values_of
    from mistral_cli.texts.labels import LabelledText, parse_labels, read_labelled, read_labels

    assert isinstance(task.strategy, ClassifyStrategy)
    options = task.strategy.options
    if labels_file:
        labels = read_labels(labels_file, reporter, encoding)
    else:
        labels = parse_labels(task.values["labels"])
    if len(labels) < 2 and not options.multi:
        raise UsageError(
            f"{labels[0].name!r} is the only label", hint="Give several labels, or add --multi."
        )
    own = (LabelledText(text, (label.name,)) for label in labels for text in label.examples)
    shown = list[LabelledText](own)
    if examples:
        shown += read_labelled(
            examples, labels, "--examples", reporter, encoding, unlabelled=options.multi
        )
    otherwise = task.values.get("otherwise")
    options = replace(options, labels=labels, examples=tuple(shown), otherwise=otherwise)
    if calibration:
        options = _calibrated(options, calibration, reporter, encoding)
    listed = [{"text": each.text, "labels": list(each.labels)} for each in shown]
    values = {"labels": values_of(labels), "examples": listed}
    return replace(task, values=values, strategy=ClassifyStrategy(options))


def _calibrated(
    options: ClassifyOptions, path: Path, reporter: Reporter, encoding: str
) -> ClassifyOptions:
    from mistral_cli.errors import UsageError
    from mistral_cli.generation.classification.calibration import read_calibration
    from mistral_cli.texts.labels import read_labelled

    if path.suffix.lower() != ".json":
        rows = read_labelled(path, options.labels, "--calibration", reporter, encoding, others=True)
        return replace(options, labelled=rows)
    saved = read_calibration(path)
    if (saved.labels, saved.multi) != (tuple(options.names), options.multi):
        multi = " with --multi" if saved.multi else ""
        raise UsageError(
            f"{path} is a calibration of other labels: {', '.join(saved.labels)}{multi}",
            hint="Use the same labels in the same order, or learn from a CSV file.",
        )
    return replace(options, calibration=saved)
