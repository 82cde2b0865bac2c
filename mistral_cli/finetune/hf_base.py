"""Weights of Hugging Face's as the network to train beside, whole or in 4 bits (QLoRA)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mistral_cli.errors import ModelUnusable, first_line
from mistral_cli.finetune.targets import MODULES, layer_modules

if TYPE_CHECKING:
    from mistral_cli.models.gguf import GGUF


def load_base(folder: Path, model: GGUF, dtype: torch.dtype, device: str, *, nf4: bool) -> Any:
    """The network in `folder`, which must have the shape of `model`.

    `nf4` is the article's way (Dettmers et al. 2023, arXiv:2305.14314). Raises ModelUnusable.
    """
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    try:
        network = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            device_map={"": device},
            quantization_config=quantization if nf4 else None,
            local_files_only=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelUnusable(
            f"{folder} cannot be loaded: {first_line(error)}",
            hint="Give --base the repository or folder of the model that the GGUF was made from.",
        ) from error
    _check_shapes(network, model, folder)
    return network


def _check_shapes(network: Any, model: GGUF, folder: Path) -> None:
    """An adapter for other shapes would train for hours and then fit nothing."""
    layers: Any = getattr(getattr(network, "model", None), "layers", ())
    wanted = layer_modules(model)
    same = len(layers) == model.block_count and all(
        (module := layers[0].get_submodule(name))
        and (module.in_features, module.out_features) == wanted[name.rpartition(".")[2]]
        for name in MODULES
    )
    if not same or network.config.vocab_size < len(model.tokens):
        raise ModelUnusable(
            f"{folder} has another shape than {model.path.name}",
            hint="Give --base the repository or folder of the model that the GGUF was made from.",
        )
