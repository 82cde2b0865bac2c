"""The checks of a text that is answered in parts: one check of each name for the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mistral_cli.checks.check import Check, Finding
    from mistral_cli.generation.writers import ResultWriter


@dataclass(frozen=True)
class PlacedChecks:
    """The checks of one part of an answer, whose `text` begins at `start` of the whole."""

    checks: Sequence[Check]
    text: str
    start: int


@dataclass
class HeldOutput:
    """Passes text on to a writer; with `holds` only once all of it is accepted."""

    writer: ResultWriter
    holds: bool
    _held: list[str] = field(default_factory=list)

    def write(self, text: str) -> None:
        """Write the text, or hold it."""
        if self.holds:
            self._held.append(text)
        else:
            self.writer.delta(text)

    def release(self) -> None:
        """Write what is held."""
        if self._held:
            self.writer.delta("".join(self._held))
        self._held.clear()


def merged(parts: Sequence[PlacedChecks]) -> tuple[Check, ...]:
    """One check of each name: it failed if that of a part did."""
    if len(parts) == 1:
        (part,) = parts
        return tuple(_placed(check, part) for check in part.checks)
    names = dict.fromkeys(check.name for part in parts for check in part.checks)
    return tuple(_merged(name, parts) for name in names)


def _merged(name: str, parts: Sequence[PlacedChecks]) -> Check:
    same = [_placed(c, part) for part in parts for c in part.checks if c.name == name]
    first = next((check for check in same if not check.ok), same[0])
    return replace(
        first,
        findings=tuple(finding for check in same for finding in check.findings),
        attempts=max(check.attempts for check in same),
    )


def _placed(check: Check, part: PlacedChecks) -> Check:
    findings = tuple(_placed_finding(finding, part) for finding in check.findings)
    return replace(check, findings=findings)


def _placed_finding(finding: Finding, part: PlacedChecks) -> Finding:
    """The finding with its place in the whole answer."""
    start, end = finding.start, finding.end
    if start is None or end is None:
        return finding
    if part.text[start:end] != finding.text:  # a line break that was put back moved it
        start = part.text.find(finding.text)
        if start == -1:
            return replace(finding, start=None, end=None)
    return replace(finding, start=part.start + start, end=part.start + start + len(finding.text))
