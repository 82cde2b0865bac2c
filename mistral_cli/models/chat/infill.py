"""Fill-in-the-middle prompts: the text before a gap and after it, between tokens that name them.

The tokens are those that the metadata of a file names (`tokenizer.ggml.fim_pre_token_id` and so
on), or else those that the families of code models give these roles, by their texts:

- Qwen Coder, StarCoder, Granite, DeepSeek Coder and CodeLlama: before, after, then the middle.
- Codestral: after, before, and no token for the middle (`encode_fim` in `mistral-common`).

Where SentencePiece puts a space before a text, the text after the gap gets none, as in
`encode_fim` and in Meta's `codellama` repository.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_cli.errors import ModelUnusable
from mistral_cli.models.chat.formats import ContinuedText

if TYPE_CHECKING:
    from mistral_cli.models.chat.formats import Segments
    from mistral_cli.models.gguf import GGUF

# The keys that llama.cpp writes, and those of its files before October 2024.
_KEYS = (("fim_pre", "prefix"), ("fim_suf", "suffix"), ("fim_mid", "middle"))

_FAMILIES = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    ("<\uff5cfim▁begin\uff5c>", "<\uff5cfim▁hole\uff5c>", "<\uff5cfim▁end\uff5c>"),
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),
    ("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),
    ("<|prefix|>", "<|suffix|>", "<|middle|>"),
    ("[PREFIX]", "[SUFFIX]"),
)


@dataclass(frozen=True)
class InfillFormat:
    """The ids of the tokens before each part of the prompt; Codestral has none for the middle."""

    before: int
    after: int
    middle: int | None = None

    def arrange(self, before: Segments, after: Segments) -> Segments:
        """The control tokens, and the parts of the texts before and after the gap."""
        if self.middle is None:
            return (self.after, *after, self.before, *before)
        return (self.before, *before, self.after, *after, self.middle)


def find_infill_format(model: GGUF) -> InfillFormat | None:
    """How `model` is asked to fill a gap; None if its vocabulary has no tokens for that."""
    named = [model.token_id(new) or model.token_id(old) for new, old in _KEYS]
    by_text = ([model.control_tokens.get(text) for text in family] for family in _FAMILIES)
    for ids in (named, *by_text):
        tokens = [token for token in ids if token is not None]
        if len(tokens) == len(ids):
            return InfillFormat(*tokens)
    return None


def render_infill(before: str, after: str, model: GGUF) -> Segments:
    """The segments of a prompt for the text between `before` and `after`. Raises ModelUnusable."""
    infill = _format(model)
    bos = (model.bos_id,) if model.adds_bos and model.bos_id is not None else ()
    parts = (before,) * bool(before), (ContinuedText(after),) * bool(after)
    return bos + infill.arrange(*parts)


def _format(model: GGUF) -> InfillFormat:
    if found := find_infill_format(model):
        return found
    raise ModelUnusable(
        f"{model.path.name} has no tokens for fill-in-the-middle",
        hint="Use a code model that has them, such as Qwen2.5-Coder, StarCoder2, DeepSeek Coder, "
        "CodeLlama or Codestral; or leave out --suffix and --cursor.",
    )
