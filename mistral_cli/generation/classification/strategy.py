"""The strategy of `classify`: questions about the chunks of a text → one probability per label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mistral_cli.generation.task import Strategy

if TYPE_CHECKING:
    from mistral_cli.generation.answer import Answer, Result
    from mistral_cli.generation.checking.rules import RulesOf
    from mistral_cli.generation.chunking import ChunkedText, PromptSizer
    from mistral_cli.generation.classification.calibration import Calibration, LabelledScore
    from mistral_cli.generation.classification.outcome import Classification
    from mistral_cli.generation.classification.prompts import Continuations, Question
    from mistral_cli.generation.options import Overflow
    from mistral_cli.generation.planner import Job, PreparedRequest, RequestPlanner
    from mistral_cli.generation.prompt import EncodedPrompt, Prompt, PromptBuilder
    from mistral_cli.generation.session import Executor
    from mistral_cli.generation.writers import ResultWriter
    from mistral_cli.system.reporter import Reporter
    from mistral_cli.texts.labels import Label, LabelledText

_EXAMPLES_SHARE = 2  # examples may take one part in so many of the longest prompt
_LONGEST_END = 16  # characters of a prompt that decide how an answer begins
_LONGEST_LABEL = 64  # tokens to keep free after a prompt


@dataclass(frozen=True)
class ClassifyOptions:
    """What the options of `classify` say.

    `orders` is in how many orders the labels are shown. `calibrates` corrects by neutral texts.
    `calibration` is known, or learned from the `labelled` texts and saved at `save_to`.
    """

    labels: tuple[Label, ...] = ()
    examples: tuple[LabelledText, ...] = ()
    multi: bool = False
    top: int | None = None
    threshold: float | None = None
    otherwise: str | None = None
    explains: bool = False
    orders: int = 1
    calibrates: bool = True
    calibration: Calibration | None = None
    labelled: tuple[LabelledText, ...] = ()
    save_to: Path | None = None

    @property
    def names(self) -> list[str]:
        """The names of the labels."""
        return [label.name for label in self.labels]

    def identity(self) -> dict[str, Any]:
        """Everything that a result depends on and that is not in the prompt."""
        calibration = self.calibration.fields() if self.calibration else None
        return {
            "multi": self.multi,
            "top": self.top,
            "threshold": self.threshold,
            "otherwise": self.otherwise,
            "explains": self.explains,
            "orders": self.orders,
            "calibrates": self.calibrates,
            "calibration": calibration,
            "labelled": [[each.text, each.labels] for each in self.labelled],
        }


class _Measured(NamedTuple):
    """The evidence of a whole text before the temperature, and what it cost.

    There is one distribution over the labels or, with `--multi`, one over yes and no for each.
    """

    distributions: list[list[float]]
    answers: list[Answer]
    chunks: int


@dataclass
class ClassifyStrategy(Strategy):
    """Scores the labels after each question about each chunk, and combines the evidence.

    `begin` fills in what all texts share: the priors of the questions, and the calibration.
    """

    options: ClassifyOptions
    _examples: dict[int, list[LabelledText]] = field(default_factory=dict)
    _spelled: dict[Any, Continuations] = field(default_factory=dict)
    _priors: list[list[float]] | None = None
    _calibration: Calibration | None = None

    default_overflow = "split"
    default_reasoning = False

    def __post_init__(self) -> None:
        """Only the reason is generated."""
        self.generates = self.options.explains

    def check(self, builder: PromptBuilder, overflow: Overflow | None) -> None:  # noqa: ARG002
        """Refuse what would replace the prompt, or a thought. Raises UsageError."""
        from mistral_cli.errors import UsageError
        from mistral_cli.generation.options import ReasoningMode

        options = builder.options
        if options.raw:
            raise UsageError(
                "classify and --raw cannot be combined", hint="Use --template for another prompt."
            )
        thinks = options.reasoning is ReasoningMode.ON or options.reasoning_budget
        if thinks or options.reasoning_effort:
            raise UsageError(
                "classify reads the probabilities of the labels, without a thought before them",
                hint="Drop the options about reasoning, or use json-extract with an enum.",
            )

    def identity(self, builder: PromptBuilder) -> dict[str, Any]:
        """Includes the options."""
        return {**super().identity(builder), "classify": self.options.identity()}

    def rules_of(self, job: Job, planner: RequestPlanner) -> RulesOf:  # noqa: ARG002
        """None: the answer is one of the labels."""
        from mistral_cli.generation.checking.rules import NO_RULES

        return lambda _: NO_RULES

    # --- prompts -------------------------------------------------------------------------------

    def chunk(self, sizer: PromptSizer, prompt: EncodedPrompt) -> ChunkedText:
        """The questions about the whole text, or about each part of it."""
        from mistral_cli.generation.chunking import ChunkedText, format_of
        from mistral_cli.generation.options import Overflow

        whole, policy = prompt.prompt, sizer.config.overflow
        text = whole.text.text
        encoded = self._encode(sizer, whole, text)
        if all(map(sizer.fits, encoded)) or policy is Overflow.ERROR or not text:
            return ChunkedText(whole, tuple(encoded))
        if policy is not Overflow.SPLIT:
            return self.cut(sizer, whole, policy)
        text_format = format_of(whole)
        parts = self._split(sizer, whole, markdown=text_format == "markdown")
        chunks = [each for part in parts for each in self._encode(sizer, whole, part)]
        return ChunkedText(whole, tuple(chunks), text_format=text_format, split=True)

    def cut(self, sizer: PromptSizer, prompt: Prompt, policy: Overflow) -> ChunkedText:
        """The questions about the beginning or the end of the text."""
        from mistral_cli.generation.chunking import ChunkedText, kept_part

        question, overhead = self._longest(sizer, prompt)

        def fits(part: str) -> bool:
            about_part = question.prompt(sizer.builder, prompt, part)
            return sizer.fits(sizer.encode(self._limited(about_part)))

        kept, left_out = kept_part(sizer, prompt, policy, fits, overhead)
        return ChunkedText(prompt, tuple(self._encode(sizer, prompt, kept)), left_out)

    def context_needed(self, sizer: PromptSizer, chunked: ChunkedText) -> int:
        """Includes the labels, the reason, and the labelled texts."""
        needed = super().context_needed(sizer, chunked) + _LONGEST_LABEL * 2
        for each in self.options.labelled:
            prompt = sizer.builder.with_text(chunked.prompt, each.text)
            texts = self.chunk(sizer, sizer.encode(prompt)).prompts
            needed = max(needed, *(len(text) + _LONGEST_LABEL * 2 for text in texts))
        return min(needed, sizer.config.longest)

    def _questions(self, sizer: PromptSizer) -> list[Question]:
        longest = sizer.config.longest
        if longest not in self._examples:
            self._examples[longest] = self._fitting_examples(sizer)
        return self._asking(self._examples[longest])

    def _asking(self, examples: Sequence[LabelledText]) -> list[Question]:
        from mistral_cli.generation.classification.prompts import questions_of

        options = self.options
        return questions_of(options.labels, examples, multi=options.multi, orders=options.orders)

    def _fitting_examples(self, sizer: PromptSizer) -> list[LabelledText]:
        """The examples in at most a part of the longest prompt, as the tokenizer counts them."""
        from mistral_cli.generation.chunking import LONGEST_CHUNK
        from mistral_cli.generation.classification.prompts import fitting_examples

        if not (examples := self.options.examples):
            return []

        def tokens(shown: Sequence[LabelledText]) -> int:
            question, nothing = self._asking(shown)[0], sizer.builder.build(_text(""))
            return len(sizer.encode(question.prompt(sizer.builder, nothing, "")))

        widest = replace(max(examples, key=lambda each: len(str(each.labels))), text="")
        overhead = tokens([widest]) - tokens([])
        room = min(sizer.config.longest, LONGEST_CHUNK) // _EXAMPLES_SHARE
        return fitting_examples(examples, sizer.count, room, overhead)

    def _encode(self, sizer: PromptSizer, whole: Prompt, text: str) -> list[EncodedPrompt]:
        questions = self._questions(sizer)
        prompts = (each.prompt(sizer.builder, whole, text) for each in questions)
        return [sizer.encode(self._limited(each)) for each in prompts]

    def _limited(self, prompt: Prompt) -> Prompt:
        """`prompt` with room for a label, or for the reason if one is wanted."""
        if self.options.explains:
            return prompt
        return replace(prompt, overrides={**prompt.overrides, "max_tokens": _LONGEST_LABEL})

    def _longest(self, sizer: PromptSizer, whole: Prompt) -> tuple[Question, EncodedPrompt]:
        """The question with the longest prompt, and that prompt without the text."""
        from mistral_cli.generation.chunking import ANY_TEXT

        encoded = self._encode(sizer, whole, ANY_TEXT)
        longest = max(range(len(encoded)), key=lambda index: len(encoded[index]))
        return self._questions(sizer)[longest], encoded[longest]

    def _split(self, sizer: PromptSizer, whole: Prompt, *, markdown: bool) -> list[str]:
        from mistral_cli.generation.chunking import LONGEST_CHUNK, MARGIN, check_overhead
        from mistral_cli.texts.split import split

        _, overhead = self._longest(sizer, whole)
        room = min(sizer.room(overhead.prompt), LONGEST_CHUNK) - MARGIN - len(overhead)
        if room < 1:
            check_overhead(sizer, whole, overhead)
        parts = split(whole.text.text, sizer.count, max(room, 1), markdown=markdown)
        return [part.strip("\n") for part in parts]

    # --- what all texts share ------------------------------------------------------------------

    def begin(self, executor: Executor, reporter: Reporter) -> None:
        """Measure the priors, and learn the calibration, once for all texts."""
        self._calibration = known = self.options.calibration
        model = executor.planner.config.model_name
        if known and known.model != model:
            reporter.warn(f"the calibration was learned with {known.model}, and not with {model}")
        if self.options.calibrates:
            self._priors = self._measure_priors(executor)
        if self.options.labelled:
            self._calibration = self._learn(executor, reporter)

    def _measure_priors(self, executor: Executor) -> list[list[float]]:
        from mistral_cli.generation.classification.priors import NEUTRAL_TEXTS, known_prior
        from mistral_cli.generation.classification.probabilities import averaged, normalized

        planner = executor.planner
        builder, priors = planner.builder, []
        questions = self._questions(planner)
        for number, question in enumerate(questions, start=1):
            prompts = [question.prompt(builder, builder.build(_text(t)), t) for t in NEUTRAL_TEXTS]
            requests = [planner.prepare(planner.encode(self._limited(each))) for each in prompts]

            def measure(
                requests: Sequence[PreparedRequest] = requests, question: Question = question
            ) -> list[float]:
                scores = [self._score(each, question, executor)[0] for each in requests]
                return averaged([normalized(each) for each in scores], [1.0] * len(scores))

            executor.status(f"neutral texts: prompt {number} of {len(questions)} …")
            spelled = self._continuations(requests[0], question, planner)
            priors.append(known_prior(planner, requests, spelled, measure))
        return priors

    def _learn(self, executor: Executor, reporter: Reporter) -> Calibration:
        from mistral_cli.generation.classification.calibration import learn

        options, planner, scored = self.options, executor.planner, list[Any]()
        for number, row in enumerate(options.labelled, start=1):
            executor.status(f"calibrating: text {number} of {len(options.labelled)} …")
            prompt = planner.builder.build(_text(row.text))
            job = planner.job(planner.config.render(prompt))
            scored.append(self._labelled(row, self._measure(job, executor)))
        model = planner.config.model_name
        learned = learn(scored, options.names, multi=options.multi, model=model)
        texts = "1 text" if len(scored) == 1 else f"{len(scored):,} texts"
        reporter.note(
            f"calibrated on {texts}: expected calibration error {learned.before:.3f} "
            f"before, {learned.after:.3f} after; temperature "
            f"{learned.calibration.temperature:.2f}, accuracy {learned.accuracy:.1%}"
        )
        if options.save_to:
            learned.calibration.save(options.save_to)
            reporter.note(f"the calibration is saved in {options.save_to}")
        return learned.calibration

    def _labelled(self, row: LabelledText, measured: _Measured) -> LabelledScore:
        from mistral_cli.generation.classification.calibration import LabelledScore

        names, distributions = self.options.names, tuple(measured.distributions)
        if self.options.multi:
            return LabelledScore(distributions, tuple(int(n not in row.labels) for n in names))
        right = names.index(row.labels[0]) if row.labels else None
        return LabelledScore(distributions, (right,))

    # --- one text ------------------------------------------------------------------------------

    def answer(self, job: Job, executor: Executor, writer: ResultWriter) -> Result:
        """The label, and then the reason for it."""
        from mistral_cli.generation.answer import Result, joined

        measured = self._measure(job, executor)
        outcome, options = self._outcome(measured), self.options
        text = outcome.text(options.top)
        writer.delta(text)
        answers = measured.answers
        if options.explains and outcome.chosen:
            reason = self._explain(job, outcome, executor, lambda more: writer.delta(more))
            outcome = replace(outcome, reason=reason.text.strip() or None)
            answers = [*answers, reason]
        return Result(
            executor.planner,
            replace(job.requests[0], prompt=job.prompt),
            replace(joined(answers, outcome.text(options.top)), finish_reason="stop"),
            chunks=measured.chunks,
            classification=outcome,
        )

    def _measure(self, job: Job, executor: Executor) -> _Measured:
        """Score every question about every chunk, and combine the chunks."""
        from mistral_cli.generation.classification.probabilities import averaged, corrected

        planner, requests = executor.planner, job.requests
        questions = self._questions(planner)
        count = len(questions)
        chunks = [requests[start : start + count] for start in range(0, len(requests), count)]
        evidence: list[list[list[float]]] = []  # by chunk, by question
        answers: list[Answer] = []
        for number, chunk in enumerate(chunks, start=1):
            if len(chunks) > 1:
                executor.status(f"chunk {number} of {len(chunks)} …")
            found = []
            for index, (prepared, question) in enumerate(zip(chunk, questions, strict=True)):
                scores, answer = self._score(prepared, question, executor)
                prior = self._priors[index] if self._priors else None
                found.append(corrected(scores, prior))
                answers.append(answer)
            evidence.append(found)
        if self.options.multi:  # a label fits the text if it fits a part of it
            by_label = zip(*evidence, strict=True)
            return _Measured([max(each) for each in by_label], answers, len(chunks))
        by_chunk = [averaged(each, [1.0] * count) for each in evidence]
        if len(chunks) == 1:
            return _Measured(by_chunk, answers, 1)
        sizes = [max(planner.count(chunk[0].prompt.text.text), 1) for chunk in chunks]
        return _Measured([averaged(by_chunk, sizes)], answers, len(chunks))

    def _score(
        self, prepared: PreparedRequest, question: Question, executor: Executor
    ) -> tuple[list[float], Answer]:
        """The log-probability of each answer to a question: that of all its spellings together."""
        from mistral_cli.engines.types import ScoreRequest
        from mistral_cli.generation.classification.probabilities import log_sum

        spelled = self._continuations(prepared, question, executor.planner)
        request = ScoreRequest(
            prepared.request.prompt_token_ids,
            tuple(ids for each in spelled for ids in each),
            prepared.request.prefixes,
        )
        answer, scores = executor.score(request)
        logprobs = iter(scores.logprobs)
        return [log_sum([next(logprobs) for _ in each]) for each in spelled], answer

    def _continuations(
        self, prepared: PreparedRequest, question: Question, planner: RequestPlanner
    ) -> Continuations:
        """The tokens of the answers; an engine in another process takes 1 ms for each text."""
        from mistral_cli.generation.classification.prompts import continuations_of, end_of_prompt

        before = end_of_prompt(prepared.prompt, planner)[-_LONGEST_END:]
        key = question.answers, before
        if key not in self._spelled:
            model, tokenize = planner.config.model, planner.tokenize
            self._spelled[key] = continuations_of(question, before, model, tokenize)
        return self._spelled[key]

    def _outcome(self, measured: _Measured) -> Classification:
        from mistral_cli.generation.classification.outcome import choose
        from mistral_cli.generation.classification.probabilities import with_temperature

        options, calibration = self.options, self._calibration
        temperature = calibration.temperature if calibration else 1.0
        calibrated = [with_temperature(each, temperature) for each in measured.distributions]
        logprobs = [each[0] for each in calibrated] if options.multi else calibrated[0]
        return choose(
            options.names,
            logprobs,
            multi=options.multi,
            threshold=options.threshold,
            thresholds=calibration.thresholds if calibration else {},
            otherwise=options.otherwise,
        )

    def _explain(
        self,
        job: Job,
        outcome: Classification,
        executor: Executor,
        on_text: Callable[[str], None],
    ) -> Answer:
        """Ask for the reason of the choice, after the label as the model's own answer."""
        from mistral_cli.errors import ContextExceeded
        from mistral_cli.generation.checking.content import value_of

        options, planner = self.options, executor.planner
        chosen = outcome.chosen[0]
        index = options.names.index(chosen) if options.multi else 0
        prepared = job.requests[index]
        question = value_of(planner.builder, "explain") or "Why?"
        answer = "yes" if options.multi else chosen
        request = planner.with_correction(prepared, answer, question)
        if request is None:
            raise ContextExceeded(
                "the reason does not fit the context", hint="Raise -c/--context-length."
            )
        on_text("\n")
        request = replace(request, max_tokens=min(request.max_tokens, prepared.request.max_tokens))
        return executor.ask(request, ("\n",), on_text)


def _text(text: str) -> Any:
    from mistral_cli.texts.inputs import Text

    return Text(text, "classify")
