"""Which checks apply to the answers of a task, and what follows from each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from mistral_cli.checks.check import Check
from mistral_cli.generation.answer import Answer, Timings
from mistral_cli.generation.checking.wording import failure

if TYPE_CHECKING:
    from mistral_cli.generation.checking.lengths import Length
    from mistral_cli.generation.checking.options import CheckOptions
    from mistral_cli.generation.planner import PreparedRequest

# Not "empty" or "repetition": the rest of the answer may be neither.
_FIRST_LINE = ("control tokens", "instruction", "script", "language")

Reaction = Literal["report", "retry", "fail"]
"""What follows from a failed check: a warning; one more request, then a warning; or an error."""


@dataclass(frozen=True)
class Rule:
    """One or more checks that are made together.

    `expected` says for a dry run what they expect. With `holds` the answer is printed only once
    it is complete and checked; with `at_beginning` its first line can be checked before the rest.
    `length` can cut an answer that is too long.
    """

    names: tuple[str, ...]
    run: Callable[[Answer], Iterable[Check]]
    reaction: Reaction = "retry"
    expected: str = ""
    holds: bool = True
    at_beginning: bool = False
    length: Length | None = None


@dataclass(frozen=True)
class PlannedCheck:
    """A check that applies to an answer, as a dry run shows it."""

    name: str
    expected: str
    on_failure: Reaction

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(filter(None, (self.expected, self.on_failure)))})"


def planned_fields(check: PlannedCheck) -> dict[str, Any]:
    """The fields of a planned check in the JSON of a dry run."""
    return {
        "name": check.name,
        "expected": check.expected or None,
        "on_failure": check.on_failure,
    }


@dataclass(frozen=True)
class AnswerRules:
    """The rules for one answer, which a message calls `noun`; `again` asks for another one.

    `suspicious` is true for a beginning that must be checked before it is printed.
    """

    rules: tuple[Rule, ...]
    noun: str
    again: str
    keeps_preamble: bool = False
    suspicious: Callable[[str], bool] = lambda _: False

    @property
    def hold_back(self) -> bool:
        """Whether the answer may be requested once more because of what stands at its end."""
        return any(rule.holds and rule.reaction != "report" for rule in self.rules)

    @property
    def strict(self) -> bool:
        """Whether nothing may be printed of an answer that fails."""
        return any(rule.reaction == "fail" for rule in self.rules)

    @property
    def lengths(self) -> tuple[Length, ...]:
        """The lengths that the answer must have."""
        return tuple(rule.length for rule in self.rules if rule.length)

    def check(self, answer: Answer, attempts: int = 1) -> tuple[Check, ...]:
        """Make all checks of an answer, the last of so many `attempts`."""
        checks = (check for rule in self.rules for check in rule.run(answer))
        return counted_attempts(checks, attempts)

    def failed_at_beginning(self, line: str) -> list[Check]:
        """The checks that already the first line of an answer fails."""
        answer = Answer(line, "stop", 0, Timings(0.0, 0.0, 0.0))
        rules = [rule for rule in self.rules if rule.at_beginning]
        checks = [check for rule in rules for check in rule.run(answer)]
        return [each for each in self.failed(checks, "retry", "fail") if each.name in _FIRST_LINE]

    def failed(self, checks: Iterable[Check], *reactions: Reaction) -> list[Check]:
        """The failed ones of `checks` that have one of these reactions."""
        names = {name for rule in self.rules if rule.reaction in reactions for name in rule.names}
        return [check for check in checks if not check.ok and check.name in names]

    def is_final(self, checks: Sequence[Check]) -> bool:
        """Whether an answer with these `checks` is accepted, and needs no other request."""
        if self.failed(checks, "fail"):
            return False
        return all(each.attempts > 1 for each in self.failed(checks, "retry"))

    def rank(self, checks: Sequence[Check]) -> tuple[int, int]:
        """Failed constraints, then all failed checks: the fewer the better."""
        return len(self.failed(checks, "retry", "fail")), sum(not check.ok for check in checks)

    def correction(self, checks: Iterable[Check]) -> str:
        """A message to the model that names what is wrong and asks for another answer."""
        problems = "; ".join(
            failure(each, self.noun) for each in self.failed(checks, "retry", "fail")
        )
        return f"That is wrong: {problems}. {self.again}"

    def planned(self) -> list[PlannedCheck]:
        """The checks that apply, for a dry run."""
        return [
            PlannedCheck(name, rule.expected, rule.reaction)
            for rule in self.rules
            for name in rule.names
        ]


def counted_attempts(checks: Iterable[Check], attempts: int) -> tuple[Check, ...]:
    """The `checks`, made of the last of so many attempts."""
    return tuple(
        check if check.attempts == attempts else replace(check, attempts=attempts)
        for check in checks
    )


RulesOf = Callable[["PreparedRequest"], AnswerRules]
"""The rules for the answer to each of the requests about a text."""

NO_RULES = AnswerRules((), "answer", "", keeps_preamble=True)


def constraint_reaction(options: CheckOptions) -> Reaction:
    """What follows from a constraint that does not hold."""
    return "fail" if options.strict else "retry"


def length_rules(lengths: Iterable[Length], reaction: Reaction) -> list[Rule]:
    """A rule for each length."""
    return [
        Rule(
            (length.name,),
            partial(_check_length, length),
            reaction,
            length.expected,
            length=length,
        )
        for length in lengths
    ]


def _check_length(length: Length, answer: Answer) -> tuple[Check]:
    return (length.check(answer.text),)


def completeness(reaction: Reaction, noun: str) -> Rule:
    """The rule that no limit cut the answer."""

    def run(answer: Answer) -> Iterable[Check]:
        ok = answer.finish_reason != "length"
        found = None if ok else f"the {noun} was cut at its limit"
        yield Check("complete", ok, found=found)

    return Rule(("complete",), run, reaction, holds=reaction == "fail")
