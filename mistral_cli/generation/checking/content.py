"""The rules about what an answer says: its language, its facts, and flaws that none may have.

The checks are imported when an answer is there: 20 ms that the first token does not wait for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mistral_cli.generation.checking.options import FactsMode
from mistral_cli.generation.checking.rules import NO_RULES, AnswerRules, Rule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_cli.checks.check import Check
    from mistral_cli.generation.answer import Answer
    from mistral_cli.generation.checking.rules import Reaction
    from mistral_cli.generation.planner import PreparedRequest, RequestPlanner
    from mistral_cli.generation.prompt import Prompt, PromptBuilder

_OF_ANY_ANSWER = ("empty", "repetition", "control tokens")
_OF_A_TEXT = ("instruction", "unchanged", "script")
_SHARED = 25  # characters that a translation may share with the beginning of its text
_FIRST_LETTERS = 40  # characters that have the first letters
_FACTS = ("numbers", "dates", "names", "units")


@dataclass(frozen=True)
class Subject:
    """What an answer is compared with.

    `source` is the text, `asked` what the user asked about it, `instruction` all of the prompt but
    the text. `known` are texts that an answer may have besides. `control_texts` spell the model's
    control tokens.
    """

    source: str
    asked: str = ""
    instruction: str = ""
    language: str | None = None
    source_language: str | None = None
    control_texts: Sequence[str] = ()
    known: Sequence[str] = ()

    @cached_property
    def source_scripts(self) -> frozenset[str]:
        """The scripts of the letters of the text."""
        from mistral_cli.checks.scripts import script_letters

        return frozenset(script_letters(self.source))

    @classmethod
    def of(cls, prompt: Prompt, planner: RequestPlanner, **changes: Any) -> Subject:
        """The subject of the answer to `prompt`."""
        source, content = prompt.text.text, prompt.content
        messages = [] if isinstance(content, str) else [message.content for message in content]
        instruction = "\n".join(messages)
        if source:
            instruction = instruction.replace(source, "")
        subject = cls(
            source,
            planner.builder.instruction or "",
            instruction,
            control_texts=tuple(planner.config.model.control_tokens),
        )
        return replace(subject, **changes)


_CONTROL_MARKS = ("<", "[", "\u2581")


def is_suspicious(subject: Subject, begun: str, *, translation: bool = False) -> bool:
    """Whether the first line of an answer must be checked before it is printed.

    It may begin with a control token, in another script, or a translation like its text. Most
    answers do not, so that they are printed from their first word.
    """
    from mistral_cli.checks.language import named_language
    from mistral_cli.checks.scripts import script_runs, scripts_of

    text = begun.strip()
    if text.startswith(_CONTROL_MARKS):
        return True
    if translation:
        beginning = text[:_SHARED].casefold()
        if subject.source.strip().casefold().startswith(beginning):
            return True
    runs = script_runs(text[:_FIRST_LETTERS])
    if not runs:
        return False
    code = named_language(subject.language) if subject.language else None
    expected = scripts_of(code) if code else subject.source_scripts
    return runs[0][0] not in expected


def flaw_rule(subject: Subject, reaction: Reaction) -> Rule:
    """The flaws that the answer about a text may not have."""

    def run(answer: Answer) -> Iterator[Check]:
        from mistral_cli.checks.flaws import find_flaws

        yield from find_flaws(
            answer.text,
            source=subject.source,
            instruction=subject.instruction,
            language=subject.language,
            control_texts=subject.control_texts,
        )

    names = (*_OF_ANY_ANSWER, *_OF_A_TEXT) if subject.source else _OF_ANY_ANSWER
    return Rule(names, run, reaction, holds=reaction == "fail", at_beginning=True)


def language_rules(language: str | None, reaction: Reaction, *, holds: bool) -> list[Rule]:
    """The rule that the answer is in the language that the user named, if that is one we know."""
    from mistral_cli.checks.language import named_language

    if not language or not named_language(language):
        return []

    def run(answer: Answer) -> Iterator[Check]:
        from mistral_cli.checks.language import check_language

        if check := check_language(answer.text, language):
            yield check

    return [Rule(("language",), run, reaction, language, holds=holds, at_beginning=True)]


def facts_rule(subject: Subject, mode: FactsMode, *, translation: bool) -> Rule:
    """The facts of an answer, which must stand in the text or in what the user asked."""

    def run(answer: Answer) -> Iterator[Check]:
        from mistral_cli.checks.facts.compare import check_facts

        source = f"{subject.source}\n\n{subject.asked}" if subject.asked else subject.source
        for check in check_facts(
            source,
            answer.text,
            mode="translation" if translation else "summary",
            language=subject.language,
            source_language=subject.source_language,
        ):
            yield _without_known(check, subject.known)

    reactions: dict[FactsMode, Reaction] = {FactsMode.RETRY: "retry", FactsMode.STRICT: "fail"}
    names = (*_FACTS, "missing") if translation else _FACTS
    return Rule(names, run, reactions.get(mode, "report"))


def _without_known(check: Check, known: Sequence[str]) -> Check:
    """The check without findings that a glossary prescribes."""
    folded = [text.casefold() for text in known]

    def is_known(text: str) -> bool:
        words = re.compile(rf"(?<!\w){re.escape(text.casefold())}(?!\w)")
        return any(words.search(each) for each in folded)

    findings = tuple(each for each in check.findings if not is_known(each.text))
    if len(findings) == len(check.findings):
        return check
    return replace(check, ok=not findings, found=len(findings) or None, findings=findings)


def value_of(builder: PromptBuilder, name: str) -> str | None:
    """The value of a template parameter: the task's, else that of `-p`, else the template's."""
    if value := builder.task.values.get(name):
        return str(value)
    for param in builder.options.param or ():
        key, _, value = param.partition("=")
        if key == name:
            return value or None
    return str(builder.template.params.get(name) or "") or None


def answer_rules(planner: RequestPlanner, prepared: PreparedRequest) -> AnswerRules:
    """The rules for the answer to a prompt of the user's own, whose flaws are only reported."""
    prompt, options = prepared.prompt, planner.builder.task.checks
    # What is sent unchanged is answered unchanged: a --raw prompt, a request with its own messages.
    if isinstance(prompt.content, str) or not prompt.text.text:
        return NO_RULES
    subject = Subject("", control_texts=tuple(planner.config.model.control_tokens))
    rules = (flaw_rule(subject, "report"),)
    return AnswerRules(rules, "answer", "Answer again.", options.keeps_preamble)
