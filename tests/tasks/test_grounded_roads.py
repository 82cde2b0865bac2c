"""`--grounded` on every road to an answer, with real engines: its numbers are whole ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.program import Run

TEXT = (
    "The committee met on 17 May 2024 at 14:30. It bought 3 boats for 40,000 EUR (invoice "
    "INV-2024/17). Each of the boats weighs 2,512.5 kg and carries eleven people. Ask "
    "john.doe@acme.com or see https://acme.com/boats for details. In 2023 the committee spent "
    "1,234,567 EUR."
)
WITHIN_THE_YEAR = 11  # tokens: "The committee met on 17 May 20"


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("smollm2", ()),
        ("smollm2", ("--lookup",)),
        ("smollm2", ("--draft-model", "smollm2")),
        ("smollm2_for_ctransformers", ("--engine", "ctransformers")),
    ],
)
def test_the_limit_cuts_no_number(
    run: Run,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    model: str,
    options: tuple[str, ...],
) -> None:
    arguments = ("--grounded", "-m", request.getfixturevalue(model), "--temperature", 0, *options)
    arguments += ("-n", WITHIN_THE_YEAR)
    printed = run("summarize", *arguments, stdin=TEXT)
    texts = [printed.stdout.strip()]
    assert f"was cut at {WITHIN_THE_YEAR} tokens" in printed.stderr
    if "--lookup" not in options and "--draft-model" not in options:
        row = tmp_path / "row.txt"
        row.write_text(TEXT, encoding="utf-8")
        record = json.loads(run("batch", "summarize", row, *arguments).stdout)
        assert record["finish_reason"] == "length"
        texts.append(record["text"])
    assert {*texts} == {"The committee met on 17 May"}
