"""A text → its prompt → the prompt in the model's chat format → token ids, each step once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mistral_cli.errors import UsageError
from mistral_cli.generation.templates import find_template
from mistral_cli.models.chat import Message
from mistral_cli.models.chat.formats import (
    Segments,
    fewest_tokens,
    render,
    render_raw,
    tokenize_segments,
)
from mistral_cli.models.chat.infill import render_infill
from mistral_cli.system.encodings import AUTO
from mistral_cli.texts.inputs import Text

if TYPE_CHECKING:
    from mistral_cli.generation.completions.gap import GapFinder
    from mistral_cli.generation.options import TaskOptions
    from mistral_cli.generation.task_prompt import TaskPrompt
    from mistral_cli.generation.templates import Template
    from mistral_cli.models.chat.reasoning import Reasoning
    from mistral_cli.models.gguf import GGUF
    from mistral_cli.models.gguf.plain_text import Tokenize
    from mistral_cli.structured.spec import BoundSpec, OutputSpec
    from mistral_cli.system.reporter import Reporter


@dataclass(frozen=True)
class Prompt:
    """The messages about one `text`, before they take the format of a model.

    `content` is the messages, or the bare text with `--raw`. `spec` parses a JSON answer. The
    numbers, codes and addresses of an answer must be in the text `grounding`, unless it is None.
    `choices` is a grammar for an answer that only chooses. `after` is what follows the answer: the
    model fills the gap between `content` and that.
    `overrides` are generation settings for this prompt alone, by their names in
    GenerationConfig. `known` is the right continuation, whose probability is wanted.
    """

    text: Text
    content: list[Message] | str
    spec: BoundSpec | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    grounding: str | None = None
    choices: str | None = None
    after: str | None = None
    known: str | None = None

    @property
    def is_constrained(self) -> bool:
        """Whether the answer has a grammar."""
        return any(each is not None for each in (self.spec, self.grounding, self.choices))

    def grammar(self) -> str | None:
        """The grammar of the answer; None if it is free. Raises OutputInvalid."""
        if self.spec:
            return self.spec.grammar
        if self.choices or self.grounding is None:
            return self.choices
        from mistral_cli.structured.grounded_text import grounded_text_grammar

        return grounded_text_grammar(self.grounding)

    def render(self, model: GGUF, reasoning: Reasoning | None = None) -> RenderedPrompt:
        """The prompt in the format of `model`, which thinks or not as `reasoning` says."""
        return RenderedPrompt(self, model, reasoning)


@dataclass(frozen=True)
class RenderedPrompt:
    """A prompt in a model's format, before its text is tokenized.

    It is rendered when its segments are needed: a text that is far too long is cut first.
    """

    prompt: Prompt
    model: GGUF
    reasoning: Reasoning | None = None

    @cached_property
    def segments(self) -> Segments:
        """The control tokens and the texts between them. Raises ModelUnusable."""
        content = self.prompt.content
        if isinstance(content, str):
            after = self.prompt.after
            if after is not None:
                return render_infill(content, after, self.model)
            return render_raw(content, self.model)
        return render(content, self.model, self.reasoning)

    @property
    def most_tokens(self) -> int:
        """An upper bound of its tokens: one per byte, and the space that SentencePiece adds."""
        texts = [segment for segment in self.segments if isinstance(segment, str)]
        size = sum(len(text.encode("utf-8", "surrogatepass")) + 1 for text in texts)
        return len(self.segments) - len(texts) + size

    def least_tokens(self, limit: int) -> int:
        """A lower bound of its tokens if that exceeds `limit`, else 0.

        The model's template may drop a system message and blanks around a text, but not what a
        user's message says.
        """
        content = self.prompt.content
        texts = [content] if isinstance(content, str) else _user_texts(content)
        longest = max((text.strip() for text in texts), key=len, default="")
        if len(longest) <= limit:
            return 0
        least = fewest_tokens([longest], self.model)
        return least if least > limit else 0

    def encode(self, tokenize: Tokenize) -> EncodedPrompt:
        """The prompt with its token ids."""
        ids = tokenize_segments(self.segments, self.model, tokenize)
        return EncodedPrompt(self.prompt, ids)


def _user_texts(messages: Sequence[Message]) -> list[str]:
    return [message.content for message in messages if message.role == "user"]


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt and its token ids, which no later step computes again.

    A prompt that no context holds has no token ids, but the `least` number of them.
    """

    prompt: Prompt
    token_ids: tuple[int, ...]
    least: int = 0

    def __len__(self) -> int:
        return self.least or len(self.token_ids)


@dataclass(frozen=True)
class PromptBuilder:
    """Builds the prompts about texts from a task, its template and the user's options.

    `chunk_template` is the template for chunks of a text, if the strategy has one.
    `instruction` goes into the prompt beside the text. `spec` describes the JSON that every
    answer must be; None for text.
    """

    task: TaskPrompt
    template: Template
    options: TaskOptions
    chunk_template: Template | None = None
    instruction: str | None = None
    spec: OutputSpec | None = None

    @classmethod
    def of(
        cls,
        task: TaskPrompt,
        options: TaskOptions,
        reporter: Reporter | None = None,
        encoding: str = AUTO,
    ) -> PromptBuilder:
        """Find the templates of a task and return its builder. Raises UsageError."""
        template = find_template(options.template or task.name, reporter, encoding)
        name = task.chunk_template
        return cls(
            task,
            template,
            options,
            chunk_template=find_template(name, reporter, encoding) if name else None,
            spec=_spec(task, template),
        )

    @property
    def is_constrained(self) -> bool:
        """Whether the answers have a grammar."""
        return self.spec is not None or self.task.grounded or self.task.choosing

    def build(self, text: Text, values: Mapping[str, Any] | None = None) -> Prompt:
        """The prompt about `text`. `values` go to the template in addition to the task's own.

        Raises UsageError.
        """
        if self.task.gap:
            return self._continued(text, self.task.gap)
        values = values or {}
        spec = self.spec.bind(text.text) if self.spec else None
        content = self._content(text.text, values)
        if spec or not self.task.grounded:
            return Prompt(text, content, spec)
        from mistral_cli.checks.facts.reader import numbers_in_words

        # What the glossary asks for is in the answer, too; and "11" where the text has "eleven".
        in_words = "; ".join(f"{number:,}" for number in sorted(numbers_in_words(text.text)))
        terms = values.get("terms", "")
        return Prompt(text, content, grounding=f"{text.text}\n{terms}\n{in_words}")

    def with_text(self, prompt: Prompt, text: str) -> Prompt:
        """`prompt` about another text from the same source."""
        if self.task.gap:
            return _continuing(prompt, Text(text, prompt.text.source))
        values = self.task.template_values(text)
        other = self.build(Text(text, prompt.text.source), values)
        return replace(other, overrides=prompt.overrides)

    def for_chunks(self, *names: str) -> PromptBuilder:
        """The builder for chunks: with the chunk template, and only the task values in `names`."""
        assert self.chunk_template is not None
        values = {name: value for name, value in self.task.values.items() if name in names}
        task = replace(self.task, values=values)
        return replace(
            self,
            task=task,
            template=self.chunk_template,
            options=replace(self.options, param=None),
            spec=_spec(task, self.chunk_template),
        )

    def _continued(self, text: Text, gap: GapFinder) -> Prompt:
        """The prompt that continues `text`, whose answer follows what is before the gap."""
        options = self.options
        adding = {"--system": options.system, "--template": options.template, "-p": options.param}
        adding["another text"] = self.instruction
        if wrong := next((name for name, value in adding.items() if value is not None), None):
            raise UsageError(
                f"{self.task.name} continues one text as it is, so {wrong} cannot add to it",
                hint=f"Drop {wrong}, or use `generate`.",
            )
        before, after = gap.find(text)
        kept = Text(before, text.source)
        return _continuing(Prompt(kept, before, after=after), kept)

    def _content(self, text: str, values: Mapping[str, Any]) -> list[Message] | str:
        options, instruction = self.options, self.instruction
        values = {**self.task.values, **values}
        if options.raw:
            adds_to_prompt = options.system is not None or options.template or options.param
            if adds_to_prompt or set(values) - self.task.enforced:
                raise UsageError(
                    "--raw sends the text unchanged, so no other option can add to the prompt",
                    hint="Drop --raw, or put the instructions of the other options into the text.",
                )
            return f"{instruction}\n\n{text}" if instruction else text
        params = _parse_params(options.param or ())
        messages = self.template.fill(text, instruction, params=params, task_values=values)
        if options.system is None:
            return messages
        system = [Message("system", options.system)] if options.system else []
        return system + [message for message in messages if message.role != "system"]


def _continuing(prompt: Prompt, text: Text) -> Prompt:
    """`prompt` as one that continues `text`; models learned to fill gaps that begin anywhere."""
    from mistral_cli.generation.completions.gap import without_last_blanks

    content = without_last_blanks(text.text) if prompt.after is None else text.text
    return replace(prompt, text=text, content=content)


def _spec(task: TaskPrompt, template: Template) -> OutputSpec | None:
    schema = task.schema or template.schema or task.fallback_schema
    if schema is None:
        return None
    from mistral_cli.structured.spec import OutputSpec

    return OutputSpec(schema, task.many, task.grounded)


def _parse_params(params: Sequence[str]) -> dict[str, str]:
    values = {}
    for param in params:
        name, equals, value = param.partition("=")
        if not name or not equals:
            missing = "name" if equals else "value"
            raise UsageError(f"-p {param!r} has no {missing}", hint="Write -p NAME=VALUE.")
        values[name] = value
    return values
