"""What a failed check says to the user, and to the model that is asked once more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mistral_cli.checks.check import Check, Finding

_LISTED = 5  # findings in a message
_LONGEST_LISTED = 120  # characters
_SUBJECTS = {
    "script": "words in another script",
    "instruction": "the answer has the instruction",
    "support": "not supported",
}
_LENGTHS = ("sentences", "bullets", "words", "characters")


def failure(check: Check, noun: str) -> str:
    """One line about a failed check of the answer that `noun` names."""
    if check.name in _LENGTHS:
        return f"the {noun} has {counted(check.found or 0, check.name)}, {_wanted(check)}"
    if check.name == "language":
        return f"the {noun} is in {check.found}, not in {check.expected}"
    if check.findings:
        return f"{_SUBJECTS.get(check.name, check.name)}: {_listed(check.findings)}"
    if isinstance(check.found, str) and check.expected is None:
        return check.found
    if check.expected is not None:
        return f"the {noun} fails the check of {check.name}: {check.found}, not {check.expected}"
    return f"the {noun} fails the check of {check.name}"


def failures(checks: Sequence[Check], noun: str) -> str:
    """All failed checks in one line."""
    return "; ".join(failure(check, noun) for check in checks)


def counted(number: int | str, name: str) -> str:
    """A number with its unit, such as "1 bullet point"."""
    unit = {"bullets": "bullet points"}.get(name, name)
    return f"{number} {unit.removesuffix('s') if number == 1 else unit}"


def _wanted(check: Check) -> str:
    if check.name == "characters":
        return f"more than {check.expected}"
    if check.name == "words":
        return f"not {check.expected}"
    return f"not {counted(check.expected or 0, check.name)}"


def _listed(findings: Sequence[Finding]) -> str:
    """The findings with their reasons, once for those that share one."""
    shown = findings[:_LISTED]
    reasons = list(dict.fromkeys(each.why for each in shown))
    parts = []
    for why in reasons:
        texts = [f'"{_shortened(each.text)}"' for each in shown if each.why == why and each.text]
        parts.append(f"{', '.join(texts)} ({why})" if texts else why)
    more = [f"{len(findings) - _LISTED} more"] if len(findings) > _LISTED else []
    return ", ".join([*parts, *more])


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_LISTED else f"{text[: _LONGEST_LISTED - 2].rstrip()} …"
