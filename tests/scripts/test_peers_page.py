"""The comparison with other tools: measured with scripted peers, and rendered from its results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
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


SCRIPTED = """
import json
import sys
from pathlib import Path
from types import SimpleNamespace
import main
from results import Table
from setting import Setting
from timing import alternate, timed

folder, seconds = Path(sys.argv.pop(1)), json.loads(sys.argv.pop(1))
main.prepare = lambda options, work: Setting(folder, folder, folder, folder, folder, work, 3, True)
main.versions = lambda python: {}

def peers(setting, results, log):
    def scripted(name):
        timed([folder / name])
        return seconds[name]
    names = {"mistral-cli, wheel": "ours", "llama-bench": "peer", "broken": "broken"}
    names["late"] = "late"
    variants = {title: lambda name=name: scripted(name) for title, name in names.items()}
    measured = alternate(variants, setting.repeats, setting.skipped, log)
    table = Table("One-off call", "s", measured, "llama-bench", "", measured.failed)
    results.tables.append(table)

def wrong(setting, results, log):
    return seconds["no such name"]

main.MEASURES = {"wrong": SimpleNamespace(measure=wrong), "peers": SimpleNamespace(measure=peers)}
main.main()
"""
PROGRAMS = {
    "ours": ":",
    "peer": ":",
    "broken": "echo oh no >&2; exit 1",
    "late": "echo >> $0.runs; [ $(wc -l < $0.runs) -lt 2 ] || exit 3",
}

Bench = Callable[..., tuple[str, str]]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Run the benchmark with scripted programs that report these seconds; stdout and the page."""
    for name, text in PROGRAMS.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)

    def bench(**seconds: float) -> tuple[str, str]:
        (tmp_path / "late.runs").unlink(missing_ok=True)
        folders = (ROOT / "scripts", ROOT, ROOT / "scripts" / "bench" / "peers")
        values = json.dumps({"late": 1, **seconds})
        done = subprocess.run(
            [sys.executable, "-c", SCRIPTED, tmp_path, values, "--out", tmp_path / "out"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout, (tmp_path / "out" / "benchmarks.md").read_text()

    return bench


def test_what_fails_is_in_the_table_and_stops_nothing(bench: Bench) -> None:
    shown, page = bench(ours=2.0, peer=3.0)
    assert "| One-off call | mistral-cli | mistral-cli, wheel: 2 s | llama-bench: 3 s |" in shown
    assert "| wrong | **failed** | - | - | - |" in shown
    assert "| broken | **failed**: exit code 1: oh no | - |" in page
    assert "| late | **failed**: exit code 3: no message (in turn 2 of 3) | - |" in page
    assert "| the whole measure | **failed**: KeyError: 'no such name' | - |" in page
    assert "| llama-bench | 3 (3 to 3) | 1.00 |" in page


def test_a_figure_that_became_worse_than_in_the_last_run_is_noted(bench: Bench) -> None:
    assert "Worse than on" not in bench(ours=2.0, peer=3.0)[0]
    assert "Nothing became worse since" in bench(ours=2.1, peer=3.0)[0]
    shown, page = bench(ours=2.6, peer=3.0)
    note = "- **One-off call**, mistral-cli, wheel: 2.1 → 2.6, 1.24 times (peers 1.00, noise 0%)"
    assert note in shown
    assert note in page
    # The machine was slower: the peer became as much worse.
    assert "Nothing became worse since" in bench(ours=5.2, peer=6.0)[0]
    shown, _ = bench(ours=5.2, peer=4.0)
    assert "| One-off call | llama-bench | mistral-cli, wheel: 5.2 s | llama-bench: 4 s |" in shown


def test_a_lead_within_the_spread_of_the_runs_is_none(tmp_path: Path) -> None:
    found = results()
    values = {"mistral-cli, wheel": [10.0, 9.0, 11.0], "llama-completion": [10.5, 10.4, 10.6]}
    found["tables"][0]["values"] = values  # type: ignore[index]
    (tmp_path / "benchmarks.json").write_text(json.dumps(found), encoding="utf-8")
    render(tmp_path)
    page = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert "| One-off call, 7B shape | even, within the noise | mistral-cli, wheel: 10 s |" in page
