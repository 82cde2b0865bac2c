"""What a GGUF file holds if it is not a language model: its kind, by its header or by its name.

Repositories keep such files beside a model: projectors for images, draft heads, adapters. Others
have the form of a model and do not write text, such as embedding models. An engine loads some of
them and answers with garbage.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mistral_cli.models.gguf.model import GGUF

_INSTRUCT = "Use an instruct model: `mistral-cli models list` and `models recommend` name some."
_BESIDE = "Use the GGUF file of the model itself: the same repository usually has it."


@dataclass(frozen=True)
class FileKind:
    """A kind of file that is not a language model; `advice` is the user's next step."""

    name: str
    advice: str


ADAPTER = FileKind(
    "a LoRA adapter", "Use the GGUF file of the base model, and pass this file to --lora."
)
_PROJECTOR = FileKind("a projector for images or sound (mmproj), not a model", _BESIDE)
_IMATRIX = FileKind("an importance matrix (imatrix), which is used to quantize a model", _BESIDE)
_CONTROL_VECTOR = FileKind("a control vector, which is added to a model", _BESIDE)
_VOCABULARY = FileKind("a vocabulary that has no weights", _BESIDE)
_DRAFT_HEAD = FileKind(
    "a draft head (MTP, EAGLE), which is a part of a model",
    f"{_BESIDE} --draft-model needs a complete model.",
)
_EMBEDDING = FileKind("an embedding model, which cannot write text", _INSTRUCT)
_RERANKER = FileKind("a reranker or classifier, which cannot write text", _INSTRUCT)
_ENCODER = FileKind("an encoder, which cannot write text", _INSTRUCT)
_ENCODER_DECODER = FileKind("an encoder-decoder model (T5), which no engine can serve", _INSTRUCT)
_DIFFUSION_LM = FileKind("a diffusion language model, which no engine can serve", _INSTRUCT)
_SPEECH = FileKind("a speech model, which cannot write text", _INSTRUCT)
_IMAGES = FileKind("a model for images or videos, which cannot write text", _INSTRUCT)
_UNIGRAM = FileKind("an embedding or encoder-decoder model (tokenizer 't5')", _INSTRUCT)
_NO_TOKENIZER = FileKind("a model without a tokenizer, which cannot read text", _INSTRUCT)

# `general.type`: llama.cpp's `gguf-py/gguf/constants.py` (GGUFType), and older converters.
_TYPES = {
    "adapter": ADAPTER,
    "mmproj": _PROJECTOR,
    "clip-vision": _PROJECTOR,
    "imatrix": _IMATRIX,
    "vocab": _VOCABULARY,
    "controlvector": _CONTROL_VECTOR,
}
# `general.architecture`: llama.cpp's `src/llama-arch.cpp`; images: ComfyUI-GGUF's converter.
_ARCHITECTURES = {
    kind: frozenset(names.split())
    for kind, names in {
        _PROJECTOR: "clip mmproj",
        _CONTROL_VECTOR: "controlvector",
        _DRAFT_HEAD: "eagle eagle2 eagle3 dflash dspark medusa gemma4-assistant",
        _EMBEDDING: "bert nomic-bert nomic-bert-moe neo-bert jina-bert-v2 jina-bert-v3 modern-bert "
        "eurobert gemma-embedding gemma-embedding2 llama-embed",
        _ENCODER: "t5encoder",
        _ENCODER_DECODER: "t5",
        _DIFFUSION_LM: "dream llada llada-moe rnd1",
        _SPEECH: "wavtokenizer-dec whisper parler-tts kokoro dia bark encodec qwen3tts pockettts",
        _IMAGES: "flux sd1 sd2 sd3 sdxl aura hidream cosmos hyvid wan ltxv ltx2 lumina2 chroma "
        "qwen_image qwen_image21 z_image pixart ideogram krea2 minimax_h3 pig vae",
    }.items()
}
# `tokenizer.ggml.model`: WordPiece is for encoders; T5's Unigram for T5 and for embeddings.
_TOKENIZERS = {
    "bert": _EMBEDDING,
    "t5": _UNIGRAM,
    "none": _NO_TOKENIZER,
    "no_vocab": _NO_TOKENIZER,
}
# stable-diffusion.cpp writes no metadata, so its models show by their tensors.
_OF_IMAGES = ("model.diffusion_model.", "first_stage_model.", "cond_stage_model.", "double_blocks.")
# llama.cpp's `llama_pooling_type`: mean, CLS and last token make one vector of a text.
_POOLED, _RANK = {1, 2, 3}, 4

# In the names of files: what llama.cpp's `gguf_filename_is_model` leaves out, and what often is no
# model. Some complete models have MTP, or are meant as a draft, and say so in their names.
_NEVER_MODELS = re.compile(r"(?i:mmproj|imatrix)|mtp-|eagle3-|dflash-|dspark-")
_SELDOM_MODELS = re.compile(
    r"(?:^|[^a-z])(?:mtp|draft(?:er)?|eagle\d?|lora|adapter|vae|clip|vocab|text_encoder)(?:[^a-z]|$)",
    re.IGNORECASE,
)


def other_kind(header: GGUF, *, complete: bool = True) -> FileKind | None:
    """Return the kind of a file that is not a language model, or None: it is one, or unknown.

    Of a header that is not `complete`, the tensors could not be read.
    """
    metadata = header.metadata
    if kind := _TYPES.get(str(metadata.get("general.type"))):
        return kind
    if any(key.startswith("clip.") for key in metadata):
        return _PROJECTOR
    architecture = metadata.get("general.architecture")
    names = {tensor.name for tensor in header.tensors}
    if not isinstance(architecture, str):
        if any(key.startswith("imatrix.") for key in metadata):
            return _IMATRIX
        return next(filter(None, map(kind_of_tensor, names)), None)
    pooling = header.hparam("pooling_type")
    # llama.cpp aborts on an activation that it does not know.
    classifies = pooling == _RANK or header.hparam("classifier.activation") is not None
    if classifies or not names.isdisjoint({"cls.weight", "cls.output.weight"}):
        return _RERANKER
    if kind := next((k for k, known in _ARCHITECTURES.items() if architecture in known), None):
        return kind
    if pooling in _POOLED:
        return _EMBEDDING
    if header.hparam("attention.causal") is False:
        return _ENCODER
    if kind := _TOKENIZERS.get(str(metadata.get("tokenizer.ggml.model"))):
        return kind
    if _is_draft_head(names):
        return _DRAFT_HEAD
    # The first part of a split model may have no tensors either.
    whole = complete and (metadata.get("split.count", 1) in (0, 1) or header.other_parts)
    return _VOCABULARY if whole and not names else None


def kind_of_tensor(name: str) -> FileKind | None:
    """Return the kind of a file that has the tensor `name`, if only one kind has such tensors."""
    return _IMAGES if name.startswith(_OF_IMAGES) else None


def is_adapter(header: GGUF) -> bool:
    """Return True if the metadata in `header` names an adapter."""
    return header.metadata.get("general.type") == "adapter"


def _is_draft_head(names: Iterable[str]) -> bool:
    """Whether all layers are those that predict tokens ahead: a model's own come before them."""
    layers = [name.split(".") for name in names if name.startswith("blk.")]
    ahead = {layer for _, layer, part, *_ in layers if part == "nextn"}
    return bool(ahead) and {layer for _, layer, *_ in layers} == ahead


def models_among(names: Iterable[str]) -> list[str]:
    """Return those GGUF files of a repository that are models, as far as their names tell.

    Files whose names only suggest that they are not are left out if others remain.
    """
    possible = [n for n in names if n.lower().endswith(".gguf") and not is_never_model(n)]
    return [name for name in possible if not _SELDOM_MODELS.search(name)] or possible


def is_never_model(filename: str) -> bool:
    """Return True if the name marks a file beside a model, as llama.cpp's downloader decides."""
    return bool(_NEVER_MODELS.search(PurePosixPath(filename).name))
