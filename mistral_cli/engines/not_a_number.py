"""The error for a model that computes NaN: the tensor that is damaged is named, if there is one."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from mistral_cli.errors import EngineFailed, MistralCliError, ModelUnusable
from mistral_cli.models.gguf.checks import CONVERT, DAMAGED

if TYPE_CHECKING:
    from mistral_cli.models.gguf import GGUF


def not_a_number(model: GGUF, gpu_layers: int) -> MistralCliError:
    """The error for `model`, which computed NaN where its engine expected probabilities.

    Looks for the reason in the weights, which takes seconds for a large model.
    """
    from mistral_cli.models.gguf.weights import damaged_tensor

    tensor = None
    with contextlib.suppress(OSError):
        tensor = damaged_tensor(model)
    problem = f"{model.path}: the model computes no numbers (NaN)"
    if tensor:
        return ModelUnusable(f"{problem}: its tensor {tensor!r} is damaged", hint=DAMAGED)
    if gpu_layers:
        return EngineFailed(f"{problem}, though its weights are numbers", hint="Use -ngl 0.")
    problem = f"{problem}: its weights do not fit its metadata"
    return ModelUnusable(problem, hint=CONVERT)
