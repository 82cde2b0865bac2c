"""What can be said to `finetune`; the names are those that trainers have for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from mistral_cli.system.options import (
    OUTPUT,
    JsonOption,
    ModelOption,
    OfflineOption,
    QuietOption,
    option,
)

_TRAINING, _ADAPTER = "Training", "Adapter"

Repository = Annotated[
    str | None,
    option(
        "--push-to-hub",
        panel=OUTPUT,
        metavar="OWNER/REPO",
        help="Upload to the model hub; a repository that is not there yet is made, private.",
    ),
]
Force = Annotated[
    bool, option("--force", panel=OUTPUT, help="Replace what an earlier run has written.")
]


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What a user may set; None leaves it to the model or the machine."""

    model: ModelOption = None
    offline: OfflineOption = False
    output: Annotated[
        Path | None,
        option(
            "-o",
            "--output",
            panel=OUTPUT,
            metavar="FILE.gguf",
            help="The adapter (default: the data's name); a folder of that name, a plot and a log "
            "go beside it.",
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
            help="Default: 2e-4; 2e-3 for models of less than 1 billion parameters.",
        ),
    ] = None
    epochs: Annotated[
        int, option("--epochs", panel=_TRAINING, min=1, metavar="N", help="Default 3.")
    ] = 3
    batch_size: Annotated[
        int,
        option(
            "--batch-size", panel=_TRAINING, min=1, metavar="N", help="Rows a step (default 12)."
        ),
    ] = 12
    gradient_accumulation: Annotated[
        int | None,
        option(
            "--gradient-accumulation",
            panel=_TRAINING,
            min=1,
            metavar="N",
            help="Compute a step in N parts, which takes less memory and gives the same "
            "(default: as many as the memory wants).",
        ),
    ] = None
    max_length: Annotated[
        int,
        option(
            "--max-length",
            panel=_TRAINING,
            min=8,
            metavar="TOKENS",
            help="Longest row (default 256); longer ones are an error, none is cut.",
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
            help="Rows that are not trained on but tell whether it learned (default 0.1).",
        ),
    ] = 0.1
    seed: Annotated[
        int, option("--seed", panel=_TRAINING, min=0, max=2**31 - 1, metavar="N", help="Default 0.")
    ] = 0
    target_modules: Annotated[
        str,
        option(
            "--target-modules",
            panel=_ADAPTER,
            metavar="NAMES",
            help="Matrices to adapt, between commas, or all-linear (default q_proj,v_proj).",
        ),
    ] = "q_proj,v_proj"
    rank: Annotated[
        int, option("--rank", panel=_ADAPTER, min=1, max=1024, metavar="R", help="Default 16.")
    ] = 16
    alpha: Annotated[
        float,
        option(
            "--alpha",
            panel=_ADAPTER,
            min=0.01,
            max=4096.0,
            metavar="ALPHA",
            help="The adapter counts ALPHA/R times (default 32).",
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
        bool, option("--nf4", panel=_ADAPTER, help="Load --base in 4 bits (QLoRA, bitsandbytes).")
    ] = False
    resume: Annotated[
        bool, option("--resume", panel=OUTPUT, help="Go on with a run that was interrupted.")
    ] = False
    force: Force = False
    push_to_hub: Repository = None
    dry_run: Annotated[
        bool,
        option("--dry-run", panel=OUTPUT, help="Show rows, tokens, steps, memory; train nothing."),
    ] = False
    json: JsonOption = False
    quiet: QuietOption = False
