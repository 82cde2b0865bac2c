"""All that is settled before anything is trained: rows, steps, and what the machine can hold."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mistral_cli.errors import ModelUnusable, UsageError
from mistral_cli.finetune.targets import MODULES, layer_modules

if TYPE_CHECKING:
    from mistral_cli.finetune.data import Data
    from mistral_cli.finetune.encode import Row
    from mistral_cli.finetune.options import TrainingOptions
    from mistral_cli.models.gguf import GGUF

_SMALL_MODEL = 10**9  # parameters
_RATE, _RATE_OF_SMALL = 2e-4, 2e-3
_CHECKPOINTS = 10


@dataclass(frozen=True)
class Plan:
    """One run. `rows` are trained on; `held_out` only tell whether something was learned."""

    model: GGUF
    model_name: str
    data: Data
    rows: tuple[Row, ...]
    held_out: tuple[Row, ...]
    options: TrainingOptions
    modules: tuple[str, ...]

    @property
    def learning_rate(self) -> float:
        """The highest rate of the run."""
        default = _RATE_OF_SMALL if self.model.parameters < _SMALL_MODEL else _RATE
        return self.options.learning_rate or default

    @property
    def batch_size(self) -> int:
        """Rows a step."""
        return min(self.options.batch_size, len(self.rows))

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every row is seen once."""
        return math.ceil(len(self.rows) / self.batch_size)

    @property
    def steps(self) -> int:
        """Steps in all."""
        return self.steps_per_epoch * self.options.epochs

    @property
    def warmup_steps(self) -> int:
        """Steps in which the rate rises; after that it falls to nothing."""
        return self.steps // 20

    @property
    def steps_per_checkpoint(self) -> int:
        """So many steps are lost at most where the run is killed."""
        return max(1, self.steps // _CHECKPOINTS)

    @property
    def tokens(self) -> int:
        """Tokens of an epoch."""
        return sum(map(len, self.rows))

    @property
    def longest(self) -> int:
        """Tokens of the longest row."""
        return max(map(len, (*self.rows, *self.held_out)))

    @property
    def trained_parameters(self) -> int:
        """The numbers in the adapter."""
        shapes = (layer_modules(self.model)[module] for module in self.modules)
        return self.model.block_count * sum(self.options.rank * sum(shape) for shape in shapes)

    @property
    def settings(self) -> dict[str, Any]:
        """What decides what comes out, for the log and for a run that goes on with this one."""
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
    model: GGUF, model_name: str, data: Data, rows: list[Row], options: TrainingOptions
) -> Plan:
    """Set rows apart and check what can be checked before training.

    Raises UsageError, and ModelUnusable for a model that cannot be trained here.
    """
    if options.nf4 and not options.base:
        raise UsageError(
            "--nf4 needs --base", hint="A GGUF is quantized already: leave --nf4 away."
        )
    if problem := _problem_with(model):
        raise ModelUnusable(
            f"{model_name} cannot be trained: {problem}",
            hint="Mistral 7B, Llama 2 and SmolLM2 can, in any quantization.",
        )
    trained, held_out = _set_apart(rows, options)
    modules = _modules(options.target_modules)
    return Plan(model, model_name, data, trained, held_out, options, modules)


def _set_apart(
    rows: list[Row], options: TrainingOptions
) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """The rows to train on, and those held out; the answers of a conversation stay together."""
    lines = sorted({row.line for row in rows})
    count = math.ceil(len(lines) * options.held_out)
    if count >= len(lines):
        raise UsageError(
            "there is one row alone", hint="Give more rows, or train on it with --held-out 0."
        )
    apart = set(random.Random(options.seed).sample(lines, count))
    return (
        tuple(row for row in rows if row.line not in apart),
        tuple(row for row in rows if row.line in apart),
    )


def _modules(names: str) -> tuple[str, ...]:
    known = [module.rpartition(".")[2] for module in MODULES]
    if names == "all-linear":
        return tuple(known)
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if not wanted or (unknown := sorted(set(wanted) - set(known))):
        what = f"has no module {unknown[0]!r}" if wanted else "are empty"
        raise UsageError(
            f"--target-modules {what}", hint=f"Use some of {', '.join(known)}, or all-linear."
        )
    return tuple(name for name in known if name in wanted)


def _problem_with(model: GGUF) -> str | None:
    """Why the network cannot be made out of the file; None if it can."""
    if model.architecture != "llama":
        return f"its architecture is {model.architecture}, and only llama can be trained"
    if model.hparam("rope.scaling.type", "none") != "none":
        return "it scales its positions (RoPE scaling)"
    if model.head_sizes[0] != model.head_sizes[1]:
        return "its keys and values differ in size"
    if model.hparam("rope.dimension_count", model.head_sizes[0]) != model.head_sizes[0]:
        return "it rotates only a part of each head"
    for key in ("feed_forward_length", "attention.head_count"):
        if len(set(model.per_layer(key))) > 1:
            return "its layers differ in size"
    layer = [*MODULES.values(), "attn_norm", "ffn_norm"]
    needed = {f"blk.{i}.{name}.weight" for i in range(model.block_count) for name in layer}
    needed |= {"token_embd.weight", "output_norm.weight"}
    names = {tensor.name for tensor in model.tensors}
    if missing := sorted(needed - names):
        return f"it lacks the tensor {missing[0]!r}"
    if others := sorted(names - needed - {"output.weight"}):
        return f"it has the tensor {others[0]!r}, which is not understood here"
    return None
