"""Request an answer, once more if a check fails, and keep the better of the two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mistral_cli.errors import OutputInvalid
from mistral_cli.generation.answer import Answer, cut_warning, joined
from mistral_cli.generation.checking.beginning import Beginning, stripped
from mistral_cli.generation.checking.rules import counted_attempts
from mistral_cli.generation.checking.wording import counted, failure, failures
from mistral_cli.generation.session import ignore

if TYPE_CHECKING:
    from mistral_cli.checks.check import Check
    from mistral_cli.engines.types import Request
    from mistral_cli.generation.answer import Result
    from mistral_cli.generation.checking.rules import AnswerRules
    from mistral_cli.generation.planner import PreparedRequest
    from mistral_cli.generation.session import Executor
    from mistral_cli.generation.writers import ResultWriter


class AnswerRejected(OutputInvalid):
    """The answer breaks a constraint after a retry, and `--strict` or `--facts strict` holds."""

    checks: tuple[Check, ...] = ()

    def _copy(self, message: str, hint: str) -> AnswerRejected:
        error = super()._copy(message, hint)
        error.checks = self.checks
        return error


@dataclass(frozen=True)
class CheckedAnswer:
    """The answer to use, all `attempts` at it, its checks, and what was cut from it."""

    answer: Answer
    attempts: tuple[Answer, ...]
    checks: tuple[Check, ...]
    cuts: tuple[str, ...] = ()

    @property
    def total(self) -> Answer:
        """The answer with the cost of all attempts."""
        if self.attempts == (self.answer,) and self.answer.stop_text is None:
            return self.answer
        whole = joined(self.attempts, self.answer.text)
        return replace(whole, finish_reason=self.answer.finish_reason, attempts=len(self.attempts))

    def warnings(self, rules: AnswerRules) -> tuple[str, ...]:
        """What was cut, and one line for each failed check."""
        retried = " (after one retry)" if len(self.attempts) > 1 else ""
        failed = [check for check in self.checks if not check.ok and check.name != "complete"]
        reported = {id(check) for check in rules.failed(failed, "report")}
        lines = [
            failure(check, rules.noun) + ("" if id(check) in reported else retried)
            for check in failed
        ]
        return (*self.cuts, *lines)


def checked_result(
    prepared: PreparedRequest, executor: Executor, rules: AnswerRules, writer: ResultWriter
) -> Result:
    """The result of one request about a whole text. Raises AnswerRejected."""
    checked = request_checked(prepared, executor, rules, writer)
    warnings = (*cut_warning(prepared, checked.answer), *checked.warnings(rules))
    result = executor.result(prepared, checked.total)
    return replace(result, warnings=warnings, checks=checked.checks)


def request_checked(
    prepared: PreparedRequest, executor: Executor, rules: AnswerRules, writer: ResultWriter
) -> CheckedAnswer:
    """Request an answer and write it. Raises AnswerRejected.

    An answer that may be requested once more because of what stands in it is not written before it
    is complete. Else it is written as it streams, from where its beginning is not suspicious.
    """
    if rules.hold_back or not writer.streams:
        checked = best_answer(prepared, executor, rules)
        check_accepted(checked.answer, checked.checks, rules)
    else:
        beginning = Beginning(rules, prepared.prompt.text.text, writer.delta)
        first = executor.answer(prepared, beginning.feed)
        if beginning.released:
            answer = replace(first, text=beginning.written)
            return CheckedAnswer(answer, (first,), rules.check(answer))
        if beginning.refused:
            checked = _instead_of(first, beginning.refused, prepared, executor, rules)
        else:
            checked = _improved(first, prepared, executor, rules)
    writer.delta(checked.answer.text)
    return checked


def best_answer(prepared: PreparedRequest, executor: Executor, rules: AnswerRules) -> CheckedAnswer:
    """Request an answer, and another if a check fails that is worth it; return the better one.

    The better one has fewer failed constraints, then fewer failed checks; of equals it is the
    first: in the second a weak model tends to talk about the first. One that is too long is cut.
    """
    return _improved(executor.answer(prepared), prepared, executor, rules)


def _improved(
    first: Answer, prepared: PreparedRequest, executor: Executor, rules: AnswerRules
) -> CheckedAnswer:
    source = prepared.prompt.text.text
    first = stripped(first, rules, source)
    checks = rules.check(first)
    if not rules.failed(checks, "retry", "fail"):
        return CheckedAnswer(first, (first,), checks)
    tried = [(first, checks)]
    if request := _retry(prepared, first, checks, rules, executor):
        executor.status("retrying …")
        second = stripped(executor.ask(request, prepared.stop, ignore), rules, source)
        tried.append((second, rules.check(second)))
    return _best(tried, rules)


def _instead_of(
    first: Answer,
    failed: Sequence[Check],
    prepared: PreparedRequest,
    executor: Executor,
    rules: AnswerRules,
) -> CheckedAnswer:
    """The answer to another request, in place of one that was stopped at its first line."""
    executor.status("retrying …")
    request = _retry(prepared, first, failed, rules, executor) or prepared.request
    second = executor.ask(request, prepared.stop, ignore)
    answer = stripped(second, rules, prepared.prompt.text.text)
    return CheckedAnswer(answer, (first, second), rules.check(answer, 2))


def check_accepted(answer: Answer, checks: Sequence[Check], rules: AnswerRules) -> None:
    """Raise AnswerRejected if a check failed whose rule says so."""
    if not (failed := rules.failed(checks, "fail")):
        return
    attempts = max(check.attempts for check in failed)
    after = f" (after {attempts} attempts)" if attempts > 1 else ""
    hint = "Use another model, or leave out --strict or --facts strict to get the answer."
    if any(check.name == "complete" for check in failed):
        hint = "Raise -n/--max-tokens."
    error = AnswerRejected(f"{failures(failed, rules.noun)}{after}", hint=hint)
    error.checks = tuple(checks)
    error.details = f"The model had written: {answer.text}"
    raise error


def _best(tried: Sequence[tuple[Answer, tuple[Check, ...]]], rules: AnswerRules) -> CheckedAnswer:
    attempts = tuple(answer for answer, _ in tried)
    candidates = [
        CheckedAnswer(answer, attempts, counted_attempts(checks, len(tried)))
        for answer, checks in tried
    ]
    candidates += [cut for each in candidates if (cut := _cut(each, rules))]
    return min(candidates, key=lambda each: rules.rank(each.checks))


def _cut(checked: CheckedAnswer, rules: AnswerRules) -> CheckedAnswer | None:
    """The answer with its lengths cut to what they must be; None if one cannot be cut."""
    text, complete = checked.answer.text, checked.answer.finish_reason != "length"
    cuts = []
    for length in rules.lengths:
        before = length.check(text)
        if before.ok and complete:
            continue
        shortened = length.cut(text, complete=complete)
        if not shortened:
            return None
        text, complete = shortened, True
        after = length.check(text)
        if length.name in ("words", "characters"):
            place = f"to {after.found}, at the end of a sentence"
        else:
            place = f"after {counted(after.found or 0, length.name)}"
        cuts.append(f"the model wrote {counted(before.found or 0, length.name)}: cut {place}")
    if not cuts:
        return None
    answer = replace(checked.answer, text=text, finish_reason="stop")
    checks = rules.check(answer, len(checked.attempts))
    return CheckedAnswer(answer, checked.attempts, checks, tuple(cuts))


def _retry(
    prepared: PreparedRequest,
    answer: Answer,
    checks: Sequence[Check],
    rules: AnswerRules,
    executor: Executor,
) -> Request | None:
    """A request with a turn about the failed checks.

    Without room for it, or without turns (`--raw`), it is the same request with another seed;
    None if that cannot give another answer.
    """
    correction = rules.correction(checks)
    if request := executor.planner.with_correction(prepared, answer.text, correction):
        return request
    sampling = prepared.request.sampling
    if not sampling.temperature:
        return None
    return replace(prepared.request, sampling=replace(sampling, seed=(sampling.seed + 1) % 2**31))
