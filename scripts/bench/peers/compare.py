"""Compare a run with the one before: which of our figures became worse by more than noise."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from results import Change, Results, Table
from timing import median

_WORSE = 0.10
_OURS = "mistral-cli"


def compare(before: Results, now: Results) -> None:
    """Put into `now` what became worse since `before`; nothing if that was on another machine."""
    if before.machine.get("CPU") != now.machine.get("CPU"):
        return
    now.compared_with = before.date
    earlier = {table.title: table for table in before.tables}
    for table in now.tables:
        if (old := earlier.get(table.title)) and old.unit == table.unit:
            now.worse += _changes(old, table)


def _changes(old: Table, new: Table) -> Iterator[Change]:
    """Our variants that are 10 % and the noise worse than the peers became in the same table."""
    times = {}
    for variant in new.values:
        one, other = median(old.values.get(variant)), median(new.values[variant])
        if one and other:
            times[variant] = other / one if new.better is min else one / other
    theirs = [ratio for variant, ratio in times.items() if not _is_ours(variant)]
    peers = statistics.median(theirs) if theirs else 1.0
    for variant, ratio in times.items():
        noise = max(spread(old.values[variant]), spread(new.values[variant]))
        if _is_ours(variant) and ratio / peers > 1 + _WORSE + noise:
            one, other = statistics.median(old.values[variant]), median(new.values[variant])
            yield Change(new.title, variant, one, other or 0.0, ratio, peers, noise)


def spread(values: Sequence[float]) -> float:
    """Half the range of the middle half of `values` (of all of fewer than 4), of the median.

    The quartiles, because one run of fifteen can take five times as long.
    """
    if len(values) < 2:
        return 0.0
    low, high = min(values), max(values)
    if len(values) >= 4:
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / 2 / statistics.median(values)


def _is_ours(variant: str) -> bool:
    return variant.strip("`").startswith(_OURS)
