"""The metrics of each task: one file each, with what it expects of the known answers.

`TASKS` has the tasks that can be evaluated. A file here has a function `metrics` that takes the
task and returns its `TaskMetrics`.
"""

from __future__ import annotations

TASKS = {
    "classify": f"{__name__}.classify",
    "complete": f"{__name__}.complete",
    "json-extract": f"{__name__}.json_extract",
    "summarize": f"{__name__}.summarize",
    "translate": f"{__name__}.translate",
}
"""The task's name on the command line → the module with its metrics."""
