"""The comparison with other tools: the page is rendered from the stored results alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
NAMES = ("benchmarks.md", "benchmarks.svg")


def render(folder: Path) -> None:
    program = ROOT / "scripts" / "bench" / "peers" / "main.py"
    subprocess.run(
        [sys.executable, program, "--render", "--out", folder],
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts")},
        timeout=60,
    )


def results(**changes: object) -> dict[str, object]:
    table = {
        "title": "One-off call, 7B shape",
        "unit": "s",
        "values": {"mistral-cli, wheel": [12.0, 10.0, 11.0], "llama-completion": [20.0, 22.0]},
        "base": "llama-completion",
        "note": "",
    }
    target = {"what": "a call", "ratio": 0.52, "limit": 0.6, "at_most": True, "note": ""}
    whole = {"machine": {"CPU": "one"}, "date": "2026-01-02", "repeats": 3, "skipped": []}
    return {**whole, "tables": [table], "targets": [target], **changes}


def test_medians_ratios_and_targets(tmp_path: Path) -> None:
    missed = {"what": "tokens", "ratio": 0.9, "limit": 0.95, "at_most": False, "note": ""}
    unknown = {"what": "slots", "ratio": None, "limit": 0.95, "at_most": False, "note": ""}
    found = results()
    found["targets"] = [*found["targets"], missed, unknown]  # type: ignore[misc]
    found["skipped"] = ["llm: not here"]
    (tmp_path / "benchmarks.json").write_text(json.dumps(found), encoding="utf-8")
    render(tmp_path)
    page = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert "| mistral-cli, wheel | 11 (10 to 12) | 0.52 |" in page
    assert "| a call | at most 0.6 | 0.52 | reached |" in page
    assert "| tokens | at least 0.95 | 0.9 | **not reached** |" in page
    assert "| slots | at least 0.95 | - | not measured |" in page
    assert "- llm: not here" in page
    assert "Nowhere in this run." in page
    drawing = ElementTree.parse(tmp_path / "benchmarks.svg").getroot()
    assert "mistral-cli, wheel" in "".join(drawing.itertext())


def test_a_peer_that_is_ahead_is_listed(tmp_path: Path) -> None:
    found = results()
    found["tables"][0]["values"]["llama-completion"] = [5.5]  # type: ignore[index]
    (tmp_path / "benchmarks.json").write_text(json.dumps(found), encoding="utf-8")
    render(tmp_path)
    page = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert (
        "- **One-off call, 7B shape**, mistral-cli, wheel: llama-completion (2.00 times)." in page
    )


def test_the_page_in_the_docs_matches_its_results(tmp_path: Path) -> None:
    docs = ROOT / "docs" / "performance"
    if not (docs / "benchmarks.json").exists():
        pytest.skip("there are no results yet")
    (tmp_path / "benchmarks.json").write_bytes((docs / "benchmarks.json").read_bytes())
    render(tmp_path)
    for name in NAMES:
        assert (tmp_path / name).read_bytes() == (docs / name).read_bytes(), name
