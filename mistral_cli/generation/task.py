"""A task: the prompts of a command, and the strategy that takes a text to a result.

Task files import this module to list their options, so it imports nothing heavy at the top.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from mistral_cli.generation.task_prompt import TaskPrompt

if TYPE_CHECKING:
    from pathlib import Path

    from mistral_cli.generation.answer import Result
    from mistral_cli.generation.checking.rules import RulesOf
    from mistral_cli.generation.chunking import ChunkedText, PromptSizer
    from mistral_cli.generation.options import OnLimit, Overflow, TaskOptions
    from mistral_cli.generation.planner import Job, PreparedRequest, RequestPlanner
    from mistral_cli.generation.prompt import EncodedPrompt, Prompt, PromptBuilder
    from mistral_cli.generation.session import Executor
    from mistral_cli.generation.writers import ResultWriter
    from mistral_cli.models.call import CallContext
    from mistral_cli.system.reporter import Reporter

    AnyOptions = TypeVar("AnyOptions", bound=TaskOptions)


class Strategy:
    """How a task chunks a text, and how it combines the answers.

    The default sends the whole text in one prompt. A text that does not fit the context is
    refused, cut or split, depending on `--overflow`; the answers about its chunks are
    concatenated, or their JSON is merged. A task overrides the methods that differ.
    """

    default_overflow: ClassVar[str] = "error"
    """The `Overflow` that applies unless the user chooses one."""
    overflow_choices: ClassVar[str] = "head, tail or split"
    """What a hint proposes for `--overflow` where a text is refused."""
    default_reasoning: ClassVar[bool] = True
    """True if a model that reasons thinks before it answers, unless the user says otherwise."""
    chunk_template: ClassVar[str | None] = None
    """The template for prompts about a chunk, where it is not the task's own."""
    retries: ClassVar[bool] = True
    """False if answers are written as they stream, so that a request cannot be retried."""
    asks_about_answers: ClassVar[bool] = False
    """True if the strategy also sends prompts about answers, which no plan can count in advance."""

    generates: bool = True
    """False if requests only read a prompt."""
    rewrites: ClassVar[bool] = False
    """True if an answer takes the place of its text, between the `ends` of that."""

    def template_values(self, text: str) -> Mapping[str, Any]:  # noqa: ARG002
        """Values for the template that depend on the text of one chunk."""
        return {}

    def identity(self, builder: PromptBuilder) -> dict[str, Any]:
        """Whatever results depend on besides the prompt, for the digest of a batch row."""
        checks = builder.task.checks.identity
        return {"part": None, "glossary": None, **({"checks": checks} if checks else {})}

    def check(self, builder: PromptBuilder, overflow: Overflow | None) -> None:
        """Refuse options that cannot work with any text. Raises UsageError."""
        from mistral_cli.generation.chunking import check_mergeable

        check_mergeable(builder.spec, overflow)

    def chunk(self, sizer: PromptSizer, prompt: EncodedPrompt) -> ChunkedText:
        """The chunks of one text. Raises ContextExceeded."""
        from mistral_cli.generation.chunking import chunk

        return chunk(sizer, prompt, self.chunk_prompt)

    def cut(self, sizer: PromptSizer, prompt: Prompt, policy: Overflow) -> ChunkedText:
        """The part of a text that `--overflow` head or tail keeps. Raises ContextExceeded."""
        from mistral_cli.generation.chunking import cut

        return cut(sizer, prompt, policy)

    def chunk_prompt(self, sizer: PromptSizer, prompt: Prompt, text: str) -> Prompt:
        """The prompt about one chunk, `text`, of the text of `prompt`."""
        return sizer.builder.with_text(prompt, text)

    def context_needed(self, sizer: PromptSizer, chunked: ChunkedText) -> int:
        """Tokens of context for the longest request about `chunked`, its answer included."""
        longest = (len(each) + sizer.longest_answer(each.prompt) for each in chunked.prompts)
        return max(longest, default=1)

    def begin(self, executor: Executor, reporter: Reporter) -> None:
        """Find out what the answers to all texts need, once the model is open."""

    def respond(self, job: Job, executor: Executor, writer: ResultWriter) -> Result:
        """Answer `job`, and stream the parts that can be streamed. Raises MistralCliError."""
        result = self.answer(job, executor, writer)
        executor.partial.delete()
        if job.left_out:
            from mistral_cli.generation.answer import in_whole_text

            result = in_whole_text(job, result)
            warning = f"the text does not fit: {job.left_out} are left out (--overflow)"
            result = replace(result, left_out=job.left_out, warnings=(warning, *result.warnings))
        return result

    def answer(self, job: Job, executor: Executor, writer: ResultWriter) -> Result:
        """Send the requests of `job` and combine their answers."""
        from mistral_cli.generation.answer import merge_results
        from mistral_cli.generation.writers import NULL_WRITER

        requests = job.requests
        rules_of = self.rules_of(job, executor.planner)
        if len(requests) == 1:
            return self.answer_request(requests[0], executor, writer, rules_of)
        results: list[Result] = []
        for number, prepared in enumerate(requests, start=1):
            executor.status(f"chunk {number} of {len(requests)} …")
            if prepared.prompt.spec:  # only the merged JSON is written
                results.append(self.answer_request(prepared, executor, NULL_WRITER, rules_of))
                continue
            results.append(self.answer_request(prepared, executor, writer, rules_of))
            if number < len(requests):
                writer.delta("\n\n")
        return merge_results(job, results)

    def answer_request(
        self,
        prepared: PreparedRequest,
        executor: Executor,
        writer: ResultWriter,
        rules_of: RulesOf,
    ) -> Result:
        """Answer one request, and stream the text. Retries JSON that is cut or invalid."""
        if prepared.prompt.spec:
            from mistral_cli.generation.json_answers.retry import extract

            return extract(prepared, executor, writer.delta)
        from mistral_cli.generation.checking.attempts import checked_result

        return checked_result(prepared, executor, rules_of(prepared), writer)

    def rules_of(self, job: Job, planner: RequestPlanner) -> RulesOf:  # noqa: ARG002
        """The checks of the answers to the requests of `job`; JSON has none of these."""
        from mistral_cli.generation.checking.content import answer_rules
        from mistral_cli.generation.checking.rules import NO_RULES

        return (lambda _: NO_RULES) if planner.builder.spec else partial(answer_rules, planner)


@dataclass(frozen=True)
class Task(TaskPrompt):
    """A command's prompts and the strategy that answers them.

    `read_files` completes the task with the files that its options name (a schema, a glossary),
    whose encoding is known only when the configuration has been read.

    With `jsonl` each item of a list is printed as soon as it is complete. With `one_argument`
    the words on the command line are one text, not several. `html` is the page to write that
    shows the values in their texts. `on_limit` is the option, for JSON that reaches its limit.
    """

    jsonl: bool = False
    one_argument: bool = False
    html: Path | None = None
    on_limit: OnLimit | None = None
    strategy: Strategy = field(default_factory=Strategy)
    read_files: Callable[[Task, Reporter, str], Task] | None = None

    def adjusted(self, options: AnyOptions) -> AnyOptions:
        """The options of a call; a text that is continued is sent unchanged."""
        return replace(options, raw=True) if self.gap else options

    def with_files(self, call: CallContext) -> Task:
        """The task with what is in its files, and with decoded values. Raises UsageError."""
        values = {
            name: call.argument(value, f"--{name}") if isinstance(value, str) else value
            for name, value in self.values.items()
        }
        task = replace(self, values=values)
        return task.read_files(task, call.terminal, call.encoding) if task.read_files else task

    @property
    def chunk_template(self) -> str | None:
        """The strategy's template for chunks."""
        return self.strategy.chunk_template

    def template_values(self, text: str) -> Mapping[str, Any]:
        """The strategy's values for `text`."""
        return self.strategy.template_values(text)
