"""The prompts of a classification, the examples that fit into them, and the tokens of labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mistral_cli.errors import ModelUnusable
from mistral_cli.models.chat.formats import chat_format
from mistral_cli.models.gguf.plain_text import tokenize_continued
from mistral_cli.texts.inputs import Text

if TYPE_CHECKING:
    from mistral_cli.generation.planner import RequestPlanner
    from mistral_cli.generation.prompt import Prompt, PromptBuilder
    from mistral_cli.models.gguf import GGUF
    from mistral_cli.models.gguf.plain_text import Tokenize
    from mistral_cli.texts.labels import Label, LabelledText

YES_NO = (("yes", "Yes"), ("no", "No"))
"""The answers to a question about one label, each as a model may write it."""

_SHORTEST_EXAMPLE = 12  # tokens; a shorter beginning of a text says too little


@dataclass(frozen=True)
class Question:
    """One prompt about a text, and the answers that it offers, each with its spellings.

    `values` go to the template.
    """

    values: Mapping[str, Any]
    answers: tuple[tuple[str, ...], ...]

    def prompt(self, builder: PromptBuilder, whole: Prompt, text: str) -> Prompt:
        """The prompt about `text`, which is a part of the text of `whole`."""
        prompt = builder.build(Text(text, whole.text.source), self.values)
        return replace(prompt, overrides=whole.overrides)


def questions_of(
    labels: Sequence[Label],
    examples: Sequence[LabelledText],
    *,
    multi: bool,
    orders: int,
) -> list[Question]:
    """The questions about each text: one for each label, or one for each order of the labels."""
    shown = [{"text": each.text, "labels": list(each.labels)} for each in examples]
    if multi:
        return [Question({"label": each, "examples": shown}, YES_NO) for each in values_of(labels)]
    names = tuple((label.name,) for label in labels)
    listed = values_of(labels)
    both = [listed, listed[::-1]][:orders]
    return [Question({"labels": order, "examples": shown}, names) for order in both]


def values_of(labels: Sequence[Label]) -> list[dict[str, str]]:
    """The labels as templates get them."""
    return [{"name": label.name, "description": label.description} for label in labels]


def fitting_examples(
    examples: Sequence[LabelledText], count: Callable[[str], int], room: int, overhead: int
) -> list[LabelledText]:
    """As many examples as fit `room` tokens, of each label in turn; long texts are shortened.

    The texts share the room equally, and a text that needs less leaves the rest to the others.
    Each example takes `overhead` tokens besides its text.
    """
    chosen = _in_turn(examples)[: max(room // (_SHORTEST_EXAMPLE + overhead), 0)]
    left = room - overhead * len(chosen)
    sizes = {id(each): count(each.text) for each in chosen}
    limits: dict[int, int] = {}
    for number, each in enumerate(sorted(chosen, key=lambda each: sizes[id(each)])):
        limits[id(each)] = share = min(sizes[id(each)], left // (len(chosen) - number))
        left -= share
    return [_shortened(each, sizes[id(each)], limits[id(each)]) for each in chosen]


def _in_turn(examples: Sequence[LabelledText]) -> list[LabelledText]:
    """The first example of each label, then the second of each, and so on."""
    seen: dict[tuple[str, ...], int] = {}
    ranks = []
    for each in examples:
        ranks.append(seen.get(each.labels, 0))
        seen[each.labels] = ranks[-1] + 1
    order = sorted(range(len(examples)), key=ranks.__getitem__)
    return [examples[index] for index in order]


def _shortened(example: LabelledText, size: int, limit: int) -> LabelledText:
    if size <= limit:
        return example
    kept = example.text[: len(example.text) * limit // size]
    words = kept.rpartition(" ")[0] or kept
    return replace(example, text=f"{words} …")


Continuations = tuple[tuple[tuple[int, ...], ...], ...]
"""The token ids of each spelling of each answer to a question."""


def end_of_prompt(prompt: Prompt, planner: RequestPlanner) -> str:
    """The text that an answer follows; empty after a control token."""
    segments = planner.config.render(prompt).segments
    return segments[-1] if segments and isinstance(segments[-1], str) else ""


def continuations_of(
    question: Question, before: str, model: GGUF, tokenize: Tokenize
) -> Continuations:
    """The answers to a question as the model would write them after the text `before`.

    A token that ends the answer follows where an answer is the beginning of another.
    """
    written = [
        [ids for text in spellings for ids in _spelled(text, before, model, tokenize)]
        for spellings in question.answers
    ]
    everything = [ids for each in written for ids in each]
    end = _end_of(model, tokenize)

    def complete(ids: tuple[int, ...]) -> tuple[int, ...]:
        begins = any(len(other) > len(ids) and other[: len(ids)] == ids for other in everything)
        return (*ids, end) if begins else ids

    return tuple(tuple(dict.fromkeys(map(complete, each))) for each in written)


def _spelled(text: str, before: str, model: GGUF, tokenize: Tokenize) -> Iterator[tuple[int, ...]]:
    """The tokens of `text` at the beginning of an answer, after the text `before`.

    SentencePiece writes a word with a space before it, or without one after a newline. Chat
    formats differ in which of them models have learned, so both count there.
    """
    by_itself = tuple(tokenize(text))
    yield by_itself
    if chat_format(model) != "chat-template":
        return  # Mistral's formats tokenize each turn by itself
    if model.tokenizer_model == "llama":
        yield tuple(tokenize_continued(model, text, tokenize))
    elif before and not before[-1].isspace():
        yield tuple(tokenize(f" {text}"))


def _end_of(model: GGUF, tokenize: Tokenize) -> int:
    for token in (model.eot_id, model.eos_id):
        if token is not None:
            return token
    ends = tokenize("\n")
    if not ends:
        raise ModelUnusable(
            f"{model.path.name} has no token that ends an answer", hint="Use another model."
        )
    return ends[-1]
