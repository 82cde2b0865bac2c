"""What a run of the comparison found, in a shape that JSON keeps."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from timing import median


@dataclass
class Table:
    """One comparison: the numbers of each way, in `unit`; ratios are to the way `base`."""

    title: str
    unit: str
    values: dict[str, list[float]]
    base: str
    note: str = ""


@dataclass
class Target:
    """A ratio that the project wants to reach: at most, or at least, `limit`."""

    what: str
    ratio: float | None
    limit: float
    at_most: bool
    note: str = ""

    @property
    def verdict(self) -> str:
        """In a word."""
        if self.ratio is None:
            return "not measured"
        good = self.ratio <= self.limit if self.at_most else self.ratio >= self.limit
        return "reached" if good else "**not reached**"


@dataclass
class Results:
    """Everything that the page is made of."""

    machine: dict[str, str]
    date: str
    repeats: int
    tables: list[Table] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def target(
        self,
        what: str,
        table: Table,
        ours: str,
        theirs: str,
        limit: float,
        *,
        at_most: bool = False,
        note: str = "",
    ) -> None:
        """Add the ratio of two ways of a table."""
        one, other = median(table.values.get(ours)), median(table.values.get(theirs))
        ratio = one / other if one and other else None
        self.targets.append(Target(what, ratio, limit, at_most, note))

    def as_json(self) -> dict[str, Any]:
        """For a file."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Results:
        """From a file."""
        tables = [Table(**each) for each in values.pop("tables")]
        targets = [Target(**each) for each in values.pop("targets")]
        return cls(tables=tables, targets=targets, **values)
