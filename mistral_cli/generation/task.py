"""A task: what a command asks of the model, and the strategy that gets from a text to a result.

Task files import this module to list their options, so nothing heavy is imported at the top.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from mistral_cli.generation.task_prompt import TaskPrompt

if TYPE_CHECKING:
    from mistral_cli.generation.answer import Result
    from mistral_cli.generation.chunking import ChunkedText, PromptSizer
    from mistral_cli.generation.options import Overflow
    from mistral_cli.generation.planner import Job, PreparedRequest
    from mistral_cli.generation.prompt import EncodedPrompt, Prompt, PromptBuilder
    from mistral_cli.generation.session import Executor
    from mistral_cli.generation.writers import ResultWriter


class Strategy:
    """How a task chunks a text, and how it combines the answers.

    This one asks about the whole text. A text that does not fit the context is refused, cut or
    split, as `--overflow` says; the answers to its chunks follow one another, or their JSON is
    merged. A task with other needs overrides the methods that differ.
    """

    default_overflow: ClassVar[str] = "error"
    """The `Overflow` that applies unless the user chooses one."""
    chunk_template: ClassVar[str | None] = None
    """The template for prompts about a chunk, where it is not the task's own."""
    retries: ClassVar[bool] = True
    """False if an answer is written at once, and so cannot be asked for again."""
    asks_about_answers: ClassVar[bool] = False
    """True if the strategy prompts about answers too, which no plan made beforehand can count."""

    def template_values(self, text: str) -> Mapping[str, Any]:  # noqa: ARG002
        """Values for the template that depend on the text of one chunk."""
        return {}

    def identity(self, builder: PromptBuilder) -> dict[str, Any]:  # noqa: ARG002
        """What results depend on beyond the prompt, for the digest of a batch row."""
        return {"part": None, "glossary": None}

    def check(self, builder: PromptBuilder, overflow: Overflow | None) -> None:
        """Refuse options that cannot work with any text. Raises UsageError."""
        from mistral_cli.generation.chunking import check_mergeable

        check_mergeable(builder.spec, overflow)

    def chunk(self, sizer: PromptSizer, prompt: EncodedPrompt) -> ChunkedText:
        """The chunks of one text. Raises ContextExceeded."""
        from mistral_cli.generation.chunking import chunk

        return chunk(sizer, prompt, self.chunk_prompt)

    def chunk_prompt(self, sizer: PromptSizer, prompt: Prompt, text: str) -> Prompt:
        """The prompt about one chunk, `text`, of the text of `prompt`."""
        return sizer.builder.with_text(prompt, text)

    def context_needed(self, sizer: PromptSizer, chunked: ChunkedText) -> int:
        """Tokens of context for the longest request about `chunked`, its answer included."""
        longest = (len(each) + sizer.longest_answer(each.prompt) for each in chunked.prompts)
        return max(longest, default=1)

    def respond(self, job: Job, executor: Executor, writer: ResultWriter) -> Result:
        """Answer `job`, writing what can be written at once. Raises MistralCliError."""
        result = self.answer(job, executor, writer)
        executor.partial.forget()
        if job.left_out:
            warning = f"the text does not fit: {job.left_out} are left out (--overflow)"
            result = replace(result, left_out=job.left_out, warnings=(warning, *result.warnings))
        return result

    def answer(self, job: Job, executor: Executor, writer: ResultWriter) -> Result:
        """Send the requests of `job` and combine their answers."""
        from mistral_cli.generation.answer import merge_results
        from mistral_cli.generation.writers import NULL_WRITER

        requests = job.requests
        if len(requests) == 1:
            return self.answer_request(requests[0], executor, writer)
        results: list[Result] = []
        for number, prepared in enumerate(requests, start=1):
            executor.status(f"chunk {number} of {len(requests)} …")
            if prepared.prompt.spec:  # only the merged JSON may be written
                results.append(self.answer_request(prepared, executor, NULL_WRITER))
                continue
            results.append(self.answer_request(prepared, executor, writer))
            if number < len(requests):
                writer.delta("\n\n")
        return merge_results(job, results)

    def answer_request(
        self, prepared: PreparedRequest, executor: Executor, writer: ResultWriter
    ) -> Result:
        """Answer one request, written as it streams; JSON is asked for again where it is wrong."""
        if prepared.prompt.spec:
            from mistral_cli.generation.json_retry import extract

            return extract(prepared, executor, writer.delta)
        return executor.result(prepared, executor.answer(prepared, writer.delta))


@dataclass(frozen=True)
class Task(TaskPrompt):
    """What a command asks for: what goes into its prompts, and the strategy that answers them.

    With `jsonl` each item of a list is printed as soon as it is complete. With `one_argument`
    the words on the command line are one text, not several.
    """

    jsonl: bool = False
    one_argument: bool = False
    strategy: Strategy = field(default_factory=Strategy)

    @property
    def chunk_template(self) -> str | None:
        """That of the strategy."""
        return self.strategy.chunk_template

    def template_values(self, text: str) -> Mapping[str, Any]:
        """Those of the strategy."""
        return self.strategy.template_values(text)
