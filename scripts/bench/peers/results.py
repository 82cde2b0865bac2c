"""The results of a comparison, in a form that JSON can store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from timing import median


@dataclass
class Table:
    """One comparison: the values of each variant, in `unit`; ratios are relative to `base`."""

    title: str
    unit: str
    values: dict[str, list[float]]
    base: str
    note: str = ""
    failed: dict[str, str] = field(default_factory=dict)  # the reason by variant

    @property
    def better(self) -> Callable[..., Any]:
        """`min` or `max`: which of two values is the better one."""
        return min if self.unit in ("s", "ms") else max


@dataclass
class Target:
    """A ratio that the project aims for: at most, or at least, `limit`."""

    what: str
    ratio: float | None
    limit: float
    at_most: bool
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.ratio is None:
            return "not measured"
        good = self.ratio <= self.limit if self.at_most else self.ratio >= self.limit
        return "reached" if good else "**not reached**"


@dataclass
class Change:
    """A variant of a table that became worse; `times` by medians, `peers` the same for the peers.

    `noise` is the part of the median by which the runs of a variant differ.
    """

    table: str
    variant: str
    before: float
    now: float
    times: float
    peers: float
    noise: float


@dataclass
class Results:
    """Everything that the page shows."""

    machine: dict[str, str]
    date: str
    repeats: int
    tables: list[Table] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    compared_with: str = ""  # the date of the run before, if it was on the same machine
    worse: list[Change] = field(default_factory=list)

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
        """Add a target for the ratio of two variants of a table."""
        one, other = median(table.values.get(ours)), median(table.values.get(theirs))
        ratio = one / other if one and other else None
        self.targets.append(Target(what, ratio, limit, at_most, note))

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Results:
        tables = [Table(**each) for each in values.pop("tables")]
        targets = [Target(**each) for each in values.pop("targets")]
        worse = [Change(**each) for each in values.pop("worse", ())]
        return cls(tables=tables, targets=targets, worse=worse, **values)
