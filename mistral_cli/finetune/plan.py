"""The plan of a training run: which rows, how many steps, which matrices."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mistral_cli.errors import ModelUnusable, UsageError
from mistral_cli.finetune.tensors import MODULES, layer_modules, unreadable_type

if TYPE_CHECKING:
    from mistral_cli.finetune.data import TrainingData
    from mistral_cli.finetune.encode import EncodedExample
    from mistral_cli.finetune.options import TrainingOptions
    from mistral_cli.models.gguf import GGUF

_SMALL_MODEL = 10**9  # parameters
_RATE, _SMALL_MODEL_RATE = 2e-4, 2e-3
_CHECKPOINTS = 10


@dataclass(frozen=True)
class TrainingPlan:
    """One run: it trains on `rows`, and measures on `held_out` what the model learned."""

    model: GGUF
    model_name: str
    data: TrainingData
    rows: tuple[EncodedExample, ...]
    held_out: tuple[EncodedExample, ...]
    options: TrainingOptions
    modules: tuple[str, ...]

    @property
    def learning_rate(self) -> float:
        """The peak learning rate: after the warm-up it falls to zero."""
        default = _SMALL_MODEL_RATE if self.model.parameters < _SMALL_MODEL else _RATE
        return self.options.learning_rate or default

    @property
    def batch_size(self) -> int:
        """Rows per step."""
        return min(self.options.batch_size, len(self.rows))

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which the run sees every row once."""
        return math.ceil(len(self.rows) / self.batch_size)

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.steps_per_epoch * self.options.epochs

    @property
    def warmup_steps(self) -> int:
        """Steps during which the learning rate rises from zero."""
        return self.steps // 20

    @property
    def steps_per_checkpoint(self) -> int:
        """Steps between two checkpoints: a killed run loses no more than these."""
        return max(1, self.steps // _CHECKPOINTS)

    @property
    def tokens(self) -> int:
        """Tokens in one epoch."""
        return sum(map(len, self.rows))

    @property
    def longest(self) -> int:
        """Tokens in the longest row."""
        return max(map(len, (*self.rows, *self.held_out)))

    @property
    def trained_parameters(self) -> int:
        """The number of parameters in the adapter."""
        shapes = (layer_modules(self.model)[module] for module in self.modules)
        return self.model.block_count * sum(self.options.rank * sum(shape) for shape in shapes)

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that determines the adapter, for the log and to check a resumed run."""
        options = self.options
        return {
            "model": self.model_name,
            "model_size": self.model.file_size,
            "data_sha256": self.data.digest,
            "learning_rate": self.learning_rate,
            "epochs": options.epochs,
            "batch_size": options.batch_size,
            "gradient_accumulation": options.gradient_accumulation,
            "max_length": options.max_length,
            "held_out": options.held_out,
            "seed": options.seed,
            "target_modules": list(self.modules),
            "rank": options.rank,
            "alpha": options.alpha,
            "base": options.base,
            "nf4": options.nf4,
        }


def make_plan(
    model: GGUF,
    model_name: str,
    data: TrainingData,
    rows: list[EncodedExample],
    options: TrainingOptions,
) -> TrainingPlan:
    """Split off the held-out rows and check everything that can be checked before training.

    Raises UsageError, and ModelUnusable for a model that cannot be trained here.
    """
    if options.nf4 and not options.base:
        raise UsageError("--nf4 needs --base", hint="Drop --nf4: a GGUF is already quantized.")
    if problem := _problem_with(model):
        raise ModelUnusable(
            f"{model_name} cannot be trained: {problem}",
            hint="Use Mistral 7B, Llama 2 or SmolLM2, in a quantization such as Q4_K_M or Q8_0.",
        )
    trained, held_out = _split(rows, options)
    modules = _modules(options.target_modules)
    return TrainingPlan(model, model_name, data, trained, held_out, options, modules)


def _split(
    rows: list[EncodedExample], options: TrainingOptions
) -> tuple[tuple[EncodedExample, ...], tuple[EncodedExample, ...]]:
    """The rows to train on and the held-out rows; a conversation's answers stay together."""
    lines = sorted({row.line for row in rows})
    count = math.ceil(len(lines) * options.held_out)
    if count >= len(lines):
        raise UsageError(
            "there is only one row", hint="Add rows, or train on this one with --held-out 0."
        )
    held_out = set(random.Random(options.seed).sample(lines, count))
    return (
        tuple(row for row in rows if row.line not in held_out),
        tuple(row for row in rows if row.line in held_out),
    )


def _modules(names: str) -> tuple[str, ...]:
    known = [module.rpartition(".")[2] for module in MODULES]
    if names == "all-linear":
        return tuple(known)
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    if not chosen or (unknown := sorted(set(chosen) - set(known))):
        problem = f"names an unknown module {unknown[0]!r}" if chosen else "is empty"
        raise UsageError(
            f"--target-modules {problem}", hint=f"Use some of {', '.join(known)}, or all-linear."
        )
    return tuple(name for name in known if name in chosen)


def _problem_with(model: GGUF) -> str | None:
    """Why the file cannot be turned into a network, or None if it can."""
    if model.architecture != "llama":
        return f"its architecture is {model.architecture}; only llama can be trained"
    if model.hparam("rope.scaling.type", "none") != "none":
        return "it uses RoPE scaling"
    if model.head_sizes[0] != model.head_sizes[1]:
        return "its keys and values differ in size"
    if model.hparam("rope.dimension_count", model.head_sizes[0]) != model.head_sizes[0]:
        return "it rotates only part of each head"
    for key in ("feed_forward_length", "attention.head_count"):
        if len(set(model.per_layer(key))) > 1:
            return "its layers differ in size"
    layer = [*MODULES.values(), "attn_norm", "ffn_norm"]
    needed = {f"blk.{i}.{name}.weight" for i in range(model.block_count) for name in layer}
    needed |= {"token_embd.weight", "output_norm.weight"}
    names = {tensor.name for tensor in model.tensors}
    if missing := sorted(needed - names):
        return f"the tensor {missing[0]!r} is missing"
    if others := sorted(names - needed - {"output.weight"}):
        return f"it has an unknown tensor {others[0]!r}"
    return unreadable_type(model)
