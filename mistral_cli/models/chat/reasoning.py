"""How a model reasons before it answers: its markers, and the switches of its chat template.

Both are read off the template: it is rendered with a reasoning text in the history, and with each
switch that the families use. A table has the markers that no rendering shows, because the template
removes the reasoning of earlier turns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Literal

from mistral_cli.models.remote import RemoteModel

if TYPE_CHECKING:
    from mistral_cli.models.gguf import GGUF
    from mistral_cli.models.remote import Rendered

Variables = Mapping[str, Any]
PromptEnd = Literal["open", "closed", "undecided"]
"""Whether a prompt ends inside a thought, after one, or leaves it to the model to think."""

_QUESTION, _THOUGHT, _ANSWER = "Xquestionx", "Xthoughtx", "Xanswerx"
_USER = {"role": "user", "content": _QUESTION}

# A template of a model that reasons has one of these words, and others need no closer look.
_HINT = re.compile("think|reason|thought|inner_", re.IGNORECASE)

# Where a message has its reasoning: DeepSeek, Qwen and vLLM; gpt-oss; Solar; Ministral.
_TURNS: tuple[Mapping[str, Any], ...] = (
    {"role": "assistant", "content": _ANSWER, "reasoning_content": _THOUGHT},
    {"role": "assistant", "content": _ANSWER, "thinking": _THOUGHT},
    {"role": "assistant", "content": _ANSWER, "reasoning": _THOUGHT},
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": _THOUGHT, "closed": True},
            {"type": "text", "text": _ANSWER},
        ],
    },
)

# The variables with which templates switch reasoning off, and on.
_OFF: tuple[Variables, ...] = (
    {"enable_thinking": False},
    {"thinking": False},
    {"thinking_mode": "disabled"},
    {"thinking_budget": 0},
    {"reasoning_effort": "none"},
    {"reasoning_effort": "no_think"},
)
_ON: tuple[Variables, ...] = (
    {"enable_thinking": True},
    {"thinking": True},
    {"thinking_mode": "enabled"},
    {"reasoning_effort": "high"},
)
EFFORTS = ("low", "medium", "high")
_EFFORT_NAMES = ("reasoning_effort", "thinking_effort")


@dataclass(frozen=True)
class Markers:
    """What a model writes around its thought, with the whitespace that belongs to it.

    `skipping` begins the answer where the format has a marker for that, with a thought before it
    or without; `ending` ends such an answer. `header` is what the model writes between the two
    where the thought and the answer are turns of their own.
    """

    opening: str
    closing: str
    skipping: str = ""
    ending: str = ""
    header: str = ""


# Each applies where its closing marker is in the template's source.
_KNOWN = (
    Markers("<think>\n", "\n</think>\n\n"),
    Markers("[THINK]", "[/THINK]"),
    Markers("<|START_THINKING|>", "<|END_THINKING|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>"),
    Markers("<|channel>thought\n", "<channel|>"),
    Markers("<|inner_prefix|>", "<|inner_suffix|>"),
    Markers(
        "<|open|>think<|sep|>", "<|close|>think<|sep|>", "<|open|>response<|sep|>", "<|close|>"
    ),
    Markers(
        "Here are my reasoning steps:\n",
        "\n[BEGIN FINAL RESPONSE]\n",
        ending="[END FINAL RESPONSE]",
    ),
    Markers("<thinking>", "</thinking>"),
)
_MISTRAL = Markers("[THINK]", "[/THINK]")

_TURN_END = re.compile(r"\A\s*<[^<>]*(?:end|eot)[^<>]*>\s*")
_FIRST_TAG = re.compile(r"\s*(<[^<>]+>)")
_LAST_TAG = re.compile(r"<[^<>]+>\s*\Z")


@dataclass(frozen=True)
class Reasoning:
    """How a prompt makes the model reason or not.

    The template gets the `variables`, and `suffix` follows what it writes. Then the prompt ends
    as `end` says.
    """

    markers: Markers
    end: PromptEnd
    variables: Variables = field(default_factory=dict)
    suffix: str = ""

    @property
    def opened(self) -> Reasoning:
        """The same, but the prompt begins the thought where it was left to the model."""
        if self.end != "undecided":
            return self
        return replace(self, end="open", suffix=self.markers.opening)

    def end_for(self, *, constrained: bool) -> PromptEnd:
        """How a prompt ends for its answer, which is `constrained` if a grammar limits it.

        Such an answer begins with its grammar, unless the prompt begins a thought.
        """
        return "closed" if constrained and self.end == "undecided" else self.end

    def marker_tokens(self, model: GGUF) -> tuple[tuple[int, str], ...]:
        """The ids and texts of the markers, or parts of them, that are tokens of `model`."""
        markers = vars(self.markers).values()
        return tuple(
            (token, text)
            for text, token in model.control_tokens.items()
            if len(text) > 1 and any(text in marker for marker in markers)
        )

    def with_variables(self, variables: Variables) -> Reasoning:
        """The same with more variables for the template."""
        return replace(self, variables={**self.variables, **variables})


@dataclass(frozen=True)
class ReasoningFormat:
    """How one model reasons: `on` and `off`, and the template's variables for each effort.

    If it `always_reasons`, nothing in the template keeps it from thinking.
    """

    on: Reasoning
    off: Reasoning
    efforts: Mapping[str, Variables] = field(default_factory=dict)
    always_reasons: bool = False


def find_reasoning(model: GGUF) -> ReasoningFormat | None:
    """Return how `model` reasons; None if it does not, or if we cannot tell.

    Raises MistralCliError if no process can be started to render its template.
    """
    from mistral_cli.models.chat.formats import chat_format

    source = model.chat_template or ""
    if isinstance(model, RemoteModel) and model.rendered:
        return _hidden_format(model, model.rendered)
    match chat_format(model):
        case "chat-template" if _HINT.search(source):
            return _Probe.of(model, source).reasoning_format()
        case "mistral-v7" if _MISTRAL.opening in model.control_tokens:
            undecided = Reasoning(_MISTRAL, "undecided")
            return ReasoningFormat(undecided, undecided)
    return None


def _hidden_format(model: RemoteModel, render: Rendered) -> ReasoningFormat | None:
    """How a model reasons whose template is applied by its server: with the usual markers only."""
    markers = _KNOWN[0]
    if markers.closing.strip() not in model.control_tokens:
        return None
    off = {"enable_thinking": False}
    ends = {each: _end(render([_USER], off if each else {}), markers) for each in (False, True)}
    return ReasoningFormat(
        Reasoning(markers, ends[False]),
        Reasoning(markers, ends[True], off),
        always_reasons=ends[True] != "closed",
    )


@dataclass(frozen=True)
class _Probe:
    """What a template writes for some conversations; it is None where the template fails.

    `question` is a prompt about one question, without the beginning of the answer in `without`.
    `turns` have a thought in the history. `switched` are prompts with other variables, in pairs.
    """

    source: str
    question: str | None
    without: str
    turns: Sequence[str]
    switched: Sequence[tuple[Variables, str]]

    @classmethod
    def of(cls, model: GGUF, source: str) -> _Probe:
        """Render everything at once, in one process."""
        from mistral_cli.models.chat.skeleton import Rendering, skeletons
        from mistral_cli.models.chat.template import template_values

        switches = [each for each in (*_OFF, *_ON) if _names(source, each)]
        switches += [
            {name: effort} for name in _EFFORT_NAMES if name in source for effort in EFFORTS
        ]
        values = template_values(model)
        prompt = {**values, "add_generation_prompt": True}
        history = {**values, "add_generation_prompt": False}
        results = skeletons(
            source,
            [
                Rendering(_forms(_USER), prompt),
                Rendering(_forms(_USER), history),
                *(Rendering(_forms(_USER, turn), history) for turn in _TURNS),
                *(Rendering(_forms(_USER), {**prompt, **each}) for each in switches),
            ],
        )
        question, without, *others = [r if isinstance(r, str) else None for r in results]
        turns, switched = others[: len(_TURNS)], others[len(_TURNS) :]
        return cls(
            source,
            question,
            without or "",
            [turn for turn in turns if turn],
            [(each, text) for each, text in zip(switches, switched, strict=True) if text],
        )

    def reasoning_format(self) -> ReasoningFormat | None:
        """The reasoning format that the renderings show."""
        if self.question is None:
            return None
        markers = self._markers_in_history() or self._markers_in_table()
        if markers is None:
            return None
        changed = [(each, text) for each, text in self.switched if text != self.question]
        efforts = {
            str(value): each
            for each, _ in self.switched
            for name, value in each.items()
            if value in EFFORTS and any(other.get(name) in EFFORTS for other, _ in changed)
        }
        on, off = self._on(markers, changed), self._off(markers, changed)
        switch = off.end == "closed" or any(each in _ON for each, _ in changed)
        return ReasoningFormat(on, off, efforts, always_reasons=not switch)

    def _on(self, markers: Markers, changed: Sequence[tuple[Variables, str]]) -> Reasoning:
        default = _end(self.question or "", markers)
        prompts = [(each, _end(text, markers)) for each, text in changed if each in _ON]
        for wanted in ("open", "undecided"):
            if default == "open":
                break
            for variables, end in prompts:
                if end == wanted:
                    return Reasoning(markers, end, variables)
        return Reasoning(markers, default)

    def _off(self, markers: Markers, changed: Sequence[tuple[Variables, str]]) -> Reasoning:
        default = _end(self.question or "", markers)
        if default == "closed":
            return Reasoning(markers, "closed")
        for variables, text in changed:
            if variables in _OFF and _end(text, markers) == "closed":
                return Reasoning(markers, "closed", variables)
        if default == "open":
            return Reasoning(markers, "closed", suffix=markers.closing.lstrip() + markers.skipping)
        if markers.skipping:
            return Reasoning(markers, "closed", suffix=markers.skipping)
        return Reasoning(markers, "undecided")

    def _markers_in_history(self) -> Markers | None:
        """The markers around a thought in the history, if the template writes it there."""
        for text in self.turns:
            before, thought, rest = text.rpartition(_QUESTION)[2].partition(_THOUGHT)
            closing, answer, after = rest.partition(_ANSWER)
            as_data = before.rstrip().endswith(("'", '"'))  # a content that is printed as it is
            if thought and answer and closing.strip() and not as_data:
                return self._markers(before, closing, after)
        return None

    def _markers(self, before: str, closing: str, after: str) -> Markers:
        """The markers in the text before a thought, between it and the answer, and after that."""
        header = _TURN_END.sub("", self._answer_begins())
        if header and header in closing:  # the answer is a turn of its own, as in gpt-oss
            closing, _, skipping = closing.partition(header)
            opening = before.rpartition(header)[2]
            return Markers(opening, closing, skipping, _first_tag(after), header)
        for known in _KNOWN:
            if known.closing.strip() not in closing:
                continue
            if known.skipping:
                skipping = closing.partition(known.closing)[2]
                ending = _first_tag(after) if skipping else ""
                return replace(known, skipping=skipping, ending=ending)
            at = before.rfind(known.opening.strip())
            opening = known.opening if at < 0 else before[at:]
            return replace(known, closing=closing, opening=opening)
        tag = _LAST_TAG.search(before)
        return Markers(tag[0] if tag else "", closing)

    def _answer_begins(self) -> str:
        """What the template writes before an answer."""
        question = self.question or ""
        same = takewhile(lambda pair: pair[0] == pair[1], zip(question, self.without, strict=False))
        return question[sum(1 for _ in same) :]

    def _markers_in_table(self) -> Markers | None:
        return next((m for m in _KNOWN if m.closing.strip() in self.source), None)


def _forms(*messages: Mapping[str, Any]) -> list[list[Mapping[str, Any]]]:
    """The messages with contents that are texts, and with lists of parts."""
    parts = [
        {**m, "content": [{"type": "text", "text": m["content"]}]}
        if isinstance(m["content"], str)
        else m
        for m in messages
    ]
    return [list(messages), parts]


def _end(prompt: str, markers: Markers) -> PromptEnd:
    text = prompt.rpartition(_QUESTION)[2].rstrip()
    opening, closing = markers.opening.strip(), markers.closing.strip()
    if text.endswith(closing) or (markers.skipping and text.endswith(markers.skipping.strip())):
        return "closed"
    opened = text.rfind(opening) if opening else -1
    return "open" if opened > text.rfind(closing) else "undecided"


def _names(source: str, variables: Variables) -> bool:
    """Whether a template of this source has these variables, and their values in quotes."""
    return all(
        name in source and (not isinstance(value, str) or re.search(rf"['\"]{value}['\"]", source))
        for name, value in variables.items()
    )


def _first_tag(text: str) -> str:
    tag = _FIRST_TAG.match(text)
    return tag[1] if tag else ""
