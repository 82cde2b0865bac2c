"""The key of a row is the same whether its whole prompt is digested or only what differs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.odd_texts import TEXTS as ODD_TEXTS
from support.plans import request_of
from support.strategies import TEXTS

from mistral_cli.batch.input.rows import Row
from mistral_cli.batch.keys import RowKeys
from mistral_cli.batch.prompts import RowPrompts
from mistral_cli.generation.task import Task
from mistral_cli.generation.templates import Template
from mistral_cli.tasks.summarize import SummaryStrategy
from mistral_cli.tasks.translate import TranslationStrategy

TASKS: dict[str, tuple[Task, str | None, dict[str, Any]]] = {
    "generate": (Task("generate"), None, {}),
    "instruction": (Task("generate"), "Explain {}:", {}),
    "in the text": (Task("generate"), "Say {text} to {who} and {text}", {}),
    "raw": (Task("generate"), None, {"raw": True}),
    "system": (Task("generate"), None, {"system": "Be brief."}),
    "summarize": (Task("summarize", strategy=SummaryStrategy()), None, {"seed": 3}),
    "translate": (
        Task("translate", values={"to": "Spanish"}, strategy=TranslationStrategy()),
        None,
        {},
    ),
    "json-extract": (
        Task("json-extract", schema={"type": "object"}, grounded=True),
        None,
        {},
    ),
}


def keys_of(mistral: Path, name: str) -> RowKeys:
    task, instruction, options = TASKS[name]
    _, planner = request_of(task, mistral, "hi", **options)
    return RowKeys(RowPrompts(task, planner.builder, instruction), planner.config, "digest")


@pytest.mark.parametrize("name", TASKS)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=TEXTS | st.sampled_from(list(ODD_TEXTS.values())), who=TEXTS)
def test_both_ways_to_a_key_lead_to_the_same(
    mistral: Path, cached: dict[str, RowKeys], name: str, text: str, who: str
) -> None:
    if name not in cached:
        cached[name] = keys_of(mistral, name)
    keys = cached[name]
    row = Row("1", "rows.jsonl:1", text, {"text": text, "who": who})
    assert keys.of(row).key == keys.slow(row).key


@pytest.fixture(scope="module")
def cached() -> dict[str, RowKeys]:
    return {}


@pytest.mark.parametrize("name", TASKS)
def test_plain_rows_need_no_prompt(mistral: Path, name: str) -> None:
    row = Row("1", "rows.jsonl:1", 'a "plain" text é ', {"who": "Zoë"})
    assert keys_of(mistral, name).of(row).prompt is None


@pytest.mark.parametrize(
    ("source", "inserts"),
    [
        ("{{ text }}", True),
        ("{% if instruction %}{{ instruction }}{% endif %} {{ text }}", True),
        ("{% for each in labels %}{{ text }}{{ each.text }}{% endfor %}", True),
        ("{{ text | upper }}", False),
        ("{% if text %}yes{% endif %}{{ text }}", False),
        ("{% filter upper %}{{ text }}{% endfilter %}", False),
        ("{% set copy %}{{ text }}{% endset %}{{ copy }}", False),
        ("{% for text in labels %}{{ text }}{% endfor %}", False),
        ("{% macro f() %}{{ text }}{% endmacro %}{{ f() | upper }}", False),
    ],
)
def test_templates_that_look_at_the_text_are_filled_for_each_row(
    source: str, inserts: bool
) -> None:
    assert Template(Path("t.txt"), source).inserts_text is inserts


def test_a_text_in_the_system_text_loses_its_blanks(mistral: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text('+++\nsystem = "{{ text }}"\n+++\n{{ text }}')
    _, planner = request_of(Task("generate"), mistral, "hi", template=str(path))
    keys = RowKeys(RowPrompts(Task("generate"), planner.builder, None), planner.config, "digest")
    for text in (" a", "a\u2003", "a", "\na"):
        row = Row("1", "rows.jsonl:1", text)
        assert keys.of(row).key == keys.slow(row).key
        assert re.fullmatch("[0-9a-f]{32}", keys.of(row).key)
