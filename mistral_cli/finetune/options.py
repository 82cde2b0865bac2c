"""The options of `finetune`, with the names that other trainers give them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from mistral_cli.system.options import (
    OUTPUT,
    EncodingOption,
    JsonOption,
    ModelOption,
    OfflineOption,
    QuietOption,
    option,
)

_TRAINING, _ADAPTER = "Training", "Adapter"

RepositoryOption = Annotated[
    str | None,
    option(
        "--push-to-hub",
        panel=OUTPUT,
        metavar="OWNER/REPO",
        help="Upload the adapter to the model hub; a missing repository is created as private.",
    ),
]
ForceOption = Annotated[bool, option("--force", panel=OUTPUT, help="Replace existing files.")]


class MergedType(StrEnum):
    """The type of a merged model's weights.

    F16 keeps everything the adapter adds, and Q8_0 nearly everything; fewer bits lose most of it.
    """

    F16 = "f16"
    Q8_0 = "q8_0"


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """The user's options; None leaves the choice to the model or the machine."""

    model: ModelOption = None
    offline: OfflineOption = False
    encoding: EncodingOption = None
    output: Annotated[
        Path | None,
        option(
            "-o",
            "--output",
            panel=OUTPUT,
            metavar="FILE.gguf",
            help="Adapter to write (default: named after the data); its folder, plot and log go "
            "beside it.",
        ),
    ] = None
    learning_rate: Annotated[
        float | None,
        option(
            "--learning-rate",
            panel=_TRAINING,
            min=1e-9,
            max=1.0,
            metavar="RATE",
            help="Peak learning rate (default 2e-4; 2e-3 for models below 1 billion parameters).",
        ),
    ] = None
    epochs: Annotated[
        int,
        option(
            "--epochs",
            panel=_TRAINING,
            min=1,
            metavar="N",
            help="Passes over the rows (default 3).",
        ),
    ] = 3
    batch_size: Annotated[
        int,
        option(
            "--batch-size",
            panel=_TRAINING,
            min=1,
            metavar="N",
            help="Rows per step (default 12).",
        ),
    ] = 12
    gradient_accumulation: Annotated[
        int | None,
        option(
            "--gradient-accumulation",
            panel=_TRAINING,
            min=1,
            metavar="N",
            help="Compute each step in N parts: less memory, same result (default: as many as "
            "the memory requires).",
        ),
    ] = None
    max_length: Annotated[
        int,
        option(
            "--max-length",
            panel=_TRAINING,
            min=8,
            metavar="TOKENS",
            help="Longest row allowed (default 256); a longer row is an error and is never cut.",
        ),
    ] = 256
    held_out: Annotated[
        float,
        option(
            "--held-out",
            panel=_TRAINING,
            min=0.0,
            max=0.5,
            metavar="SHARE",
            help="Share of rows kept out of training to measure what was learned (default 0.1).",
        ),
    ] = 0.1
    seed: Annotated[
        int,
        option(
            "--seed",
            panel=_TRAINING,
            min=0,
            max=2**31 - 1,
            metavar="N",
            help="Random seed (default 0).",
        ),
    ] = 0
    target_modules: Annotated[
        str,
        option(
            "--target-modules",
            panel=_ADAPTER,
            metavar="NAMES",
            help="Matrices to adapt, separated by commas, or all-linear (default q_proj,v_proj).",
        ),
    ] = "q_proj,v_proj"
    rank: Annotated[
        int,
        option(
            "--rank",
            panel=_ADAPTER,
            min=1,
            max=1024,
            metavar="R",
            help="Rank of the adapter's matrices (default 16).",
        ),
    ] = 16
    alpha: Annotated[
        float,
        option(
            "--alpha",
            panel=_ADAPTER,
            min=0.01,
            max=4096.0,
            metavar="ALPHA",
            help="The adapter is scaled by ALPHA/R (default 32).",
        ),
    ] = 32.0
    base: Annotated[
        str | None,
        option(
            "--base",
            panel=_ADAPTER,
            metavar="REPO|FOLDER",
            help="Train on these Hugging Face weights instead of the GGUF's own.",
        ),
    ] = None
    nf4: Annotated[
        bool,
        option("--nf4", panel=_ADAPTER, help="Load --base in 4 bits (QLoRA, with bitsandbytes)."),
    ] = False
    resume: Annotated[
        bool, option("--resume", panel=OUTPUT, help="Continue an interrupted run.")
    ] = False
    force: ForceOption = False
    push_to_hub: RepositoryOption = None
    dry_run: Annotated[
        bool,
        option(
            "--dry-run",
            panel=OUTPUT,
            help="Show rows, tokens, steps and memory without training.",
        ),
    ] = False
    json: JsonOption = False
    quiet: QuietOption = False
