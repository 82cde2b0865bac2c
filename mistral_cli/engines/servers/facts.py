"""What was found out about a server and its model, once for each process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from mistral_cli.engines.servers.client import ServerClient
    from mistral_cli.engines.types import Sampling
    from mistral_cli.models.remote import Rendered

Fields = Mapping[str, Any]

UNKNOWN_CONTEXT = 8192
"""Tokens that are assumed where a server does not tell its context."""

MOST_OUTSTANDING = 64
"""Requests that a server gets at once, at most."""

MARKERS = (
    *("<s>", "</s>", "<unk>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
    *("[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[AVAILABLE_TOOLS]", "[THINK]"),
    *("[/AVAILABLE_TOOLS]", "[/THINK]", "[IMG]", "[PREFIX]", "[SUFFIX]", "[MIDDLE]"),
    *("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_sep|>", "<think>", "</think>"),
    *("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>"),
    *("<|eot_id|>", "<|eom_id|>", "<|python_tag|>", "<|finetune_right_pad_id|>"),
    *("<bos>", "<eos>", "<pad>", "<start_of_turn>", "<end_of_turn>", "<|turn>", "<turn|>"),
    *("<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|start|>", "<|message|>"),
    *("<|channel|>", "<|return|>", "<|call|>", "<|startoftext|>", "<tool_call>", "</tool_call>"),
    *("<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|SYSTEM_TOKEN|>"),
    *(
        "<|CHATBOT_TOKEN|>",
        "<|fim_prefix|>",
        "<|fim_suffix|>",
        "<|fim_middle|>",
        "<|header_start|>",
    ),
    *("<|header_end|>", "<|eot|>", "<\uff5cUser\uff5c>", "<\uff5cAssistant\uff5c>"),
    *("<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>"),
)
"""The control tokens of the common families, which servers do not list."""


@dataclass(frozen=True)
class ServerTokenizer:
    """The tokenizer of a server: `tokenize` plain text, `detokenize` ids.

    `model` is its algorithm as a GGUF names it.
    """

    model: str
    tokenize: Callable[[str], list[int]]
    detokenize: Callable[[Sequence[int]], str]
    controls: Mapping[str, int]
    bos: int | None = None
    eos: int | None = None
    adds_bos: bool = False


@dataclass(frozen=True)
class ServerKind:
    """A kind of server: what it can do, and how it is asked.

    `describe` finds out what there is to know about its model with that name. `sampling` has the
    names that it gives to our settings; it does not have the others. `structured` are the ways to
    ask for JSON that it may know, the best first. If it `parses_controls`, the text of a control
    token in a message becomes that token. `no_thought` are the fields that keep a model from
    thinking before it answers messages.
    """

    name: str
    describe: Callable[[ServerClient, str, Fields], ServedFacts]
    sampling: Mapping[str, str]
    structured: tuple[str, ...]
    parses_controls: bool = True
    no_thought: Fields = field(default_factory=dict)

    def settings(self, sampling: Sampling) -> dict[str, Any]:
        """The fields for the settings of `sampling` that it has."""
        return {its: getattr(sampling, ours) for ours, its in self.sampling.items()}

    def unsupported(self, sampling: Sampling) -> list[str]:
        """The settings that would change the answer, and that it does not have."""
        neutral = {"top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0}
        defaults = {
            name: neutral.get(name, each.default)
            for name, each in type(sampling).__dataclass_fields__.items()
            if name not in ("temperature", "seed")
        }
        penalizes = sampling.repetition_penalty != 1.0
        idle = set() if penalizes else {"repeat_last_n"}
        if not sampling.dry_multiplier:
            idle |= {name for name in defaults if name.startswith("dry_")}
        if sampling.temperature == 0:
            idle |= {"top_k", "top_p", "min_p"}
        return [
            name
            for name, value in defaults.items()
            if name not in self.sampling and name not in idle and getattr(sampling, name) != value
        ]


@dataclass(frozen=True)
class ServedFacts:
    """A model on a server: its name there, and all that the server told.

    `identity` is what must be the same on another server that answers the same requests.
    `slots` is how many requests it works on at once. With `tokenizer` it takes token ids.
    `chat_template` is its template, or `rendered` applies it. `scores` tells how to ask for the
    probability of a text, if it can be asked.
    """

    model: str
    context_length: int | None = None
    identity: Fields = field(default_factory=dict)
    slots: int | None = None
    tokenizer: ServerTokenizer | None = None
    chat_template: str | None = None
    rendered: Rendered | None = None
    scores: Literal["n_probs", "prompt_logprobs"] | None = None
    version: str = ""
