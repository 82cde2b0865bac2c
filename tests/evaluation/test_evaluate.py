"""`mistral-cli evaluate` as a real process, on the fake engine, which echoes a row's last words."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.batch_program import lines_of
from support.fake_engine import Script
from support.html_page import Page
from support.json_schemas import check_schema
from support.program import Result, Run
from synthetic.models import write_mistral

Evaluate = Callable[..., Result]

RIGHT, WRONG = "one two three", "four five six"


@pytest.fixture
def evaluate(here: Path, mistral: Path, run: Run) -> Evaluate:
    """Run an evaluation: `evaluate("translate", "rows.jsonl", "-o", "out")`."""

    def evaluate(
        task: str, *arguments: object, models: tuple[object, ...] = (), **more: Any
    ) -> Any:
        named = [part for model in models or (mistral,) for part in ("-m", model)]
        return run("evaluate", task, *arguments, "--engine", "fake", *named, **more)

    return evaluate


def write_known(path: Path, *pairs: tuple[str, Any], **more: Any) -> Path:
    """Write rows with the ids "1", "2", … and known answers."""
    rows = (
        {"id": str(number), "text": text, "expected": expected, **more}
        for number, (text, expected) in enumerate(pairs, 1)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_template(path: Path, last_words: str = "") -> Path:
    """A template whose answers, on the fake engine, are the last words of the text or these."""
    path.write_text(f'+++\ndescription = "A test."\n+++\nTranslate: {{{{ text }}}} {last_words}\n')
    return path


def answer(result: Result) -> Mapping[str, Any]:
    assert result.status in (0, 11), result.stderr
    value = json.loads(result.stdout)
    check_schema("evaluate", value)
    return value


def test_the_table_says_how_good_and_how_costly_each_configuration_is(
    evaluate: Evaluate, here: Path
) -> None:
    write_known(here / "rows.jsonl", (RIGHT, RIGHT), (RIGHT, ["no", RIGHT]), (WRONG, "xyz"))
    result = evaluate("translate", "rows.jsonl", "-o", "out")
    assert result.status == 0, result.stderr
    titles, line = result.stdout.splitlines()
    assert titles.split() == [
        "configuration", "chrF", "BLEU", "rows", "failed", "tokens", "s/row", "GiB"
    ]  # fmt: skip
    cells = line.split()
    assert cells[0] == "mistral-v1"
    assert cells[3:5] == ["3", "0"]
    assert 50 < float(cells[1]) < 100
    assert float(cells[-1]) > 0
    assert [each["id"] for each in lines_of(here / "out" / "mistral-v1.jsonl")] == ["1", "2", "3"]


def test_models_and_templates_are_combined_and_compared_with_the_first(
    evaluate: Evaluate, here: Path, mistral: Path
) -> None:
    write_known(here / "rows.jsonl", *[(f"{RIGHT} {row}", f"two three {row}") for row in range(8)])
    other = Path(shutil.copy(mistral, here / "other.gguf"))
    plain, wrong = write_template(here / "plain.txt"), write_template(here / "wrong.txt", WRONG)
    result = evaluate(
        *("translate", "rows.jsonl", "-o", "out", "--json"),
        *("--template", plain, "--prompt-file", wrong),
        models=(mistral, other),
    )
    found = answer(result)
    names = [each["name"] for each in found["configurations"]]
    assert names == [
        "mistral-v1 + plain", "mistral-v1 + wrong", "other + plain", "other + wrong"
    ]  # fmt: skip
    assert {path.name for path in (here / "out").glob("[!.]*")} == {
        f"{name.replace(' + ', '+')}.jsonl" for name in names
    }
    chrf = [each["metrics"]["chrf"]["value"] for each in found["configurations"]]
    assert chrf[0] == chrf[2] == pytest.approx(100)
    assert chrf[1] == chrf[3] < 20
    assert all(each["first"] == names[0] for each in found["differences"])
    first = [each for each in found["differences"] if each["metric"] == "chrf"]
    assert [each["second"] for each in first] == names[1:]
    assert [each["clear"] for each in first] == [True, False, True]
    assert first[0]["difference"] == pytest.approx(chrf[1] - chrf[0])
    assert first[0]["low"] <= first[0]["difference"] <= first[0]["high"] < 0
    text = evaluate(
        "translate", "rows.jsonl", "-o", "out", "--template", plain, "--template", wrong
    ).stdout
    assert "mistral-v1 + wrong - mistral-v1 + plain  chrF" in text
    assert text.count("  lower\n") == 1
    assert text.endswith("no difference; 8 rows are too few to see a small one\n")  # BLEU is 0


def test_few_rows_are_too_few_to_tell(evaluate: Evaluate, here: Path) -> None:
    pairs = [(RIGHT, RIGHT), (RIGHT, RIGHT), (WRONG, WRONG)]
    write_known(here / "rows.jsonl", *pairs)
    plain, wrong = write_template(here / "plain.txt"), write_template(here / "wrong.txt", WRONG)
    options = ("-o", "out", "--template", plain, "--template", wrong)
    shown = evaluate("translate", "rows.jsonl", *options).stdout
    assert "3 rows are too few to tell; about" in shown


@pytest.mark.parametrize(
    ("gates", "status"),
    [
        (["chrf>=99"], 0),
        (["chrf>=99", "failed<=0", " bleu < 1 "], 0),
        (["chrf>100"], 11),
        (["chrf>1", "failed<0"], 11),
    ],
)
def test_a_gate_decides_the_exit_code(
    evaluate: Evaluate, here: Path, gates: list[str], status: int
) -> None:
    text = f"{RIGHT} and four"
    write_known(here / "rows.jsonl", (text, "three and four"))
    options = [part for gate in gates for part in ("--gate", gate)]
    result = evaluate("translate", "rows.jsonl", "-o", "out", *options)
    assert result.status == status, result.stderr
    assert result.stdout.count("\ngate ") == len(gates)
    assert ("does not hold" in result.stderr) == bool(status)
    found = answer(evaluate("translate", "rows.jsonl", "-o", "out", *options, "--json"))
    assert all(each["holds"] for each in found["gates"]) == (status == 0)


def test_a_gate_is_for_every_configuration_but_not_for_the_baseline(
    evaluate: Evaluate, here: Path
) -> None:
    write_known(here / "rows.jsonl", (RIGHT, RIGHT))
    plain, wrong = write_template(here / "plain.txt"), write_template(here / "wrong.txt", WRONG)
    gate = ("--gate", "chrf>=90", "--json")
    found = answer(
        evaluate(
            "translate", "rows.jsonl", "-o", "out", "--template", plain, "--template", wrong, *gate
        )
    )
    assert [each["holds"] for each in found["gates"]] == [True, False]
    baseline = ("--baseline", "out/mistral-v1+wrong.jsonl", "--template", plain)
    result = evaluate("translate", "rows.jsonl", "-o", "new", *baseline, *gate)
    assert result.status == 0
    assert len(answer(result)["gates"]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rows.jsonl", "--gate", "rouge_1>0"], "no metric 'rouge_1'"),
        (["rows.jsonl", "--gate", "chrf"], "is not a bound"),
        (["rows.jsonl", "--gate", "chrf=>1"], "is not a bound"),
        (["rows.jsonl", "--gate", "chrf>0.9.1"], "is not a bound"),
        (["rows.txt"], "is not a table"),
        (["-"], "is not a table"),
        (["none.csv"], "does not exist"),
        (["unknown.jsonl"], "unknown.jsonl:2 has no known answer in 'expected'"),
        (["rows.jsonl", "--expected-field", "gold"], "rows.jsonl:1 has no known answer in 'gold'"),
        (["number.jsonl"], "number.jsonl:1: 'expected' must be a text"),
        (["rows.jsonl", "--template", "a.txt", "--template", "a.txt"], "is there twice"),
        (["rows.jsonl", "--baseline", "none.jsonl"], "cannot be read"),
        (["rows.jsonl", "--baseline", "rows.jsonl"], "has no result for these rows"),
        (["rows.jsonl", "-o", "rows.txt"], "is not a folder"),
        (["rows.jsonl", "--report", "rows.jsonl"], "are the same file"),
        (["rows.jsonl", "--parallel", "no"], "--parallel cannot be 'no'"),
    ],
)
def test_a_wrong_call_ends_before_a_model_runs(
    evaluate: Evaluate, here: Path, arguments: list[str], message: str
) -> None:
    write_known(here / "rows.jsonl", (RIGHT, RIGHT))
    write_known(here / "unknown.jsonl", (RIGHT, RIGHT), (RIGHT, None))
    write_known(here / "number.jsonl", (RIGHT, 3))
    (here / "rows.txt").write_text(RIGHT)
    write_template(here / "a.txt")
    output = () if "-o" in arguments else ("-o", "out")
    result = evaluate("translate", *arguments, *output)
    assert (result.status, result.stdout) == (2, "")
    assert message in result.stderr
    assert not (here / "out").exists()


def test_a_missing_model_ends_the_call_before_the_first_run(
    evaluate: Evaluate, here: Path, mistral: Path
) -> None:
    write_known(here / "rows.jsonl", (RIGHT, RIGHT))
    result = evaluate("translate", "rows.jsonl", "-o", "out", models=(mistral, "none.gguf"))
    assert result.status
    assert "none.gguf" in result.stderr
    assert not (here / "out").exists()


def test_a_run_resumes_and_the_first_rows_stay_the_first(evaluate: Evaluate, here: Path) -> None:
    write_known(here / "rows.jsonl", *[(RIGHT, RIGHT)] * 4)
    first = evaluate("translate", "rows.jsonl", "-o", "out", "--limit", 2)
    assert "2 of 2 rows done, 0 failed" in first.stderr
    again = evaluate("translate", "rows.jsonl", "-o", "out", "--limit", 2)
    assert "2 of 2 rows done, 2 of them in earlier runs" in again.stderr
    assert again.stdout == first.stdout
    whole = evaluate("translate", "rows.jsonl", "-o", "out")
    assert "4 of 4 rows done, 2 of them in earlier runs" in whole.stderr


def test_without_a_folder_the_answers_are_in_the_cache(evaluate: Evaluate, here: Path) -> None:
    write_known(here / "rows.jsonl", (RIGHT, RIGHT))
    assert evaluate("translate", "rows.jsonl").status == 0
    result = evaluate("translate", here / "rows.jsonl", "--json")
    assert "1 of them in earlier runs" in result.stderr
    assert [path.name for path in here.iterdir()] == ["rows.jsonl"]
    (configuration,) = answer(result)["configurations"]
    assert Path(configuration["results"]).is_file()


def test_an_earlier_run_is_a_baseline_on_the_rows_that_it_has(
    evaluate: Evaluate, here: Path
) -> None:
    write_known(here / "rows.jsonl", *[(RIGHT, RIGHT)] * 3)
    wrong, plain = write_template(here / "wrong.txt", WRONG), write_template(here / "plain.txt")
    evaluate("translate", "rows.jsonl", "-o", "old", "--template", wrong, "--limit", 2)
    earlier = "old/mistral-v1+wrong.jsonl"
    options = ("-o", "new", "--template", plain, "--baseline", earlier, "--json")
    result = evaluate("translate", "rows.jsonl", *options)
    found = answer(result)
    assert [each["baseline"] for each in found["configurations"]] == [True, False]
    assert [each["rows"] for each in found["configurations"]] == [2, 3]
    assert [each["rows"] for each in found["differences"]] == [2, 2]
    assert found["differences"][0]["difference"] > 80
    assert "has 2 of the 3 rows: the differences are about these" in result.stderr
    own = ("-o", "old", "--template", wrong, "--baseline", earlier)
    refused = evaluate("translate", "rows.jsonl", *own)
    assert refused.status == 2
    assert "is a file that this run writes" in refused.stderr


def test_a_baseline_of_other_data_is_warned_about_and_of_another_task_refused(
    evaluate: Evaluate, here: Path
) -> None:
    write_known(here / "one.jsonl", (RIGHT, "one"), (WRONG, "two"))
    write_known(here / "two.jsonl", (WRONG, "one"))
    labels = ("--labels", "one, two", "--no-calibrate")
    assert evaluate("classify", "one.jsonl", "-o", "labels", *labels).status == 0
    baseline = ("--baseline", "labels/mistral-v1.jsonl", "--gate", "accuracy>=.0")
    result = evaluate("classify", "two.jsonl", "-o", "new", *labels, *baseline)
    assert result.status == 0
    assert "is about one.jsonl, not two.jsonl: rows with the same id" in result.stderr
    assert evaluate("translate", "one.jsonl", "-o", "texts").status == 0
    refused = evaluate(
        "classify", "one.jsonl", "-o", "newer", *labels, "--baseline", "texts/mistral-v1.jsonl"
    )
    assert refused.status == 2
    assert "has the answers of another task" in refused.stderr


def test_rows_that_fail_are_wrong_answers(evaluate: Evaluate, here: Path, script: Script) -> None:
    script(fail_on="bad")
    write_known(here / "rows.jsonl", (RIGHT, RIGHT), ("bad one two", "bad one two"))
    result = evaluate("translate", "rows.jsonl", "-o", "out", "--json")
    assert result.status == 0
    (configuration,) = answer(result)["configurations"]
    assert (configuration["rows"], configuration["failed"]) == (2, 1)
    assert configuration["metrics"]["chrf"]["value"] < 80
    assert "1 of 2 rows failed and count as wrong" in result.stderr
    script()
    retried = evaluate("translate", "rows.jsonl", "-o", "out", "--retry-failed", "--json")
    assert answer(retried)["configurations"][0]["failed"] == 0


def test_json_is_compared_field_by_field_also_with_columns_for_fields(
    evaluate: Evaluate, here: Path, script: Script
) -> None:
    script(pieces=['{"name": "Anna", "age": 30}'])
    (here / "rows.csv").write_text(
        "id,text,expected.name,expected.age\n1,Anna is 30,Anna,30\n2,Anna is 31,Anna,31\n"
    )
    result = evaluate("json-extract", "rows.csv", "--schema", "{}", "-o", "out", "--json")
    (configuration,) = answer(result)["configurations"]
    assert configuration["metrics"]["exact_match"]["value"] == 0.5
    assert configuration["metrics"]["f1"]["value"] == 0.75
    assert {each["field"]: each["f1"] for each in configuration["fields"]} == {
        "name": 1.0, "age": 0.5
    }  # fmt: skip
    shown = evaluate("json-extract", "rows.csv", "--schema", "{}", "-o", "out").stdout
    assert "\nmistral-v1: fields\nfield  precision" in shown
    for option in ("--jsonl", "--html=page.html"):
        refused = evaluate("json-extract", "rows.csv", "--fields", "name", option)
        assert refused.status == 2
        assert "does not apply to an evaluation" in refused.stderr


def test_summaries_have_rouge_and_the_checks_that_held(
    evaluate: Evaluate, here: Path, script: Script
) -> None:
    script(pieces=["Anna", " paid", " 40", " euros."])
    text = "Anna paid 40 euros on Friday."
    write_known(here / "rows.jsonl", (text, "Anna paid 40 euros."), ("Anna paid.", "She paid."))
    result = evaluate("summarize", "rows.jsonl", "-o", "out", "--facts", "report", "--json")
    (configuration,) = answer(result)["configurations"]
    metrics = {name: each["value"] for name, each in configuration["metrics"].items()}
    assert 0.6 < metrics["rouge_1"] < 1
    assert metrics["checks"] == 0.5  # the second text has no number
    numbers = next(each for each in configuration["checks"] if each["check"] == "numbers")
    assert (numbers["answers"], numbers["held"]) == (2, 1)


def test_the_report_shows_the_rows_that_differ_beside_each_other(
    evaluate: Evaluate, here: Path
) -> None:
    write_known(here / "rows.jsonl", (f"<b>& {RIGHT}", RIGHT), (WRONG, WRONG))
    plain, wrong = write_template(here / "plain.txt"), write_template(here / "wrong.txt", WRONG)
    options = ("-o", "out", "--template", plain, "--template", wrong, "--report", "page.html")
    assert evaluate("translate", "rows.jsonl", *options, "--gate", "chrf>99").status == 11
    page = Page((here / "page.html").read_text(encoding="utf-8"))
    headings = [text for _, text in page.all("h2")]
    assert headings[:3] == ["Figures", "Differences", "Gates"]
    assert "Rows whose answers differ: 1" in headings
    ((_, article),) = page.all("article")
    for part in (
        "<b>& one two three",
        "Expected",
        "mistral-v1 + plain 100.0",
        "mistral-v1 + wrong",
    ):
        assert part in article
    assert evaluate("translate", "rows.jsonl", *options).status == 0  # our own page is replaced
    one = ("-o", "out", "--template", wrong, "--report", "one.html")
    assert evaluate("translate", "rows.jsonl", *one).status == 0
    page = Page((here / "one.html").read_text(encoding="utf-8"))
    assert "Rows with another answer than expected: 1" in [text for _, text in page.all("h2")]


def test_a_dry_run_prints_what_would_be_done_and_writes_nothing(
    evaluate: Evaluate, here: Path, script: Script
) -> None:
    script(delay=0.001)
    write_known(here / "rows.jsonl", *[(RIGHT, RIGHT)] * 3)
    plain, wrong = write_template(here / "plain.txt"), write_template(here / "wrong.txt", WRONG)
    options = ("-o", "out", "--template", plain, "--template", wrong)
    result = evaluate("translate", "rows.jsonl", *options, "--limit", 2, "--dry-run")
    assert result.status == 0, result.stderr
    plan = json.loads(result.stdout)
    check_schema("evaluate-dry-run", plan)
    assert plan["rows"] == 2
    assert [each["to_do"] for each in plan["configurations"]] == [2, 2]
    assert not (here / "out").exists()
    assert "mistral-v1 + wrong: 2 rows to do" in result.stderr


def test_quiet_prints_the_table_only(evaluate: Evaluate, here: Path) -> None:
    write_known(here / "rows.jsonl", (RIGHT, RIGHT))
    result = evaluate("translate", "rows.jsonl", "-o", "out", "-q")
    assert result.stderr == ""
    assert result.stdout.startswith("configuration ")


def test_labels_are_counted_and_confused(evaluate: Evaluate, here: Path) -> None:
    """The fake engine finds a label that is among the last words of the prompt likelier."""
    write_known(here / "rows.jsonl", ("a bug", "bug"), ("b", "praise"), ("c", ["bug"]))
    options = ("--labels", "bug, praise", "--no-calibrate", "-o", "out")
    result = evaluate("classify", "rows.jsonl", *options, "--json")
    (configuration,) = answer(result)["configurations"]
    assert sum(each["rows"] for each in configuration["confusion"]) == 3
    right = sum(
        each["rows"] for each in configuration["confusion"] if each["expected"] == each["answer"]
    )
    assert configuration["metrics"]["accuracy"]["value"] == pytest.approx(right / 3)
    shown = evaluate("classify", "rows.jsonl", *options).stdout
    assert "\nmistral-v1: confusion\nexpected \\ answer" in shown


def test_labels_have_the_tokens_of_each_model(
    evaluate: Evaluate, here: Path, script: Script, mistral: Path
) -> None:
    """The strategy of `classify` remembers tokens, which differ between vocabularies."""
    other = write_mistral(here / "other.gguf", vocabulary=20_000)
    script(pieces=["x"], scores={"bug": -0.5, "praise": -2.0})
    write_known(here / "rows.jsonl", ("a", "bug"), ("b", "bug"))
    options = ("--labels", "bug, praise", "--no-calibrate", "-o", "out")
    found = answer(evaluate("classify", "rows.jsonl", *options, "--json", models=(mistral, other)))
    for configuration in found["configurations"]:
        lines = lines_of(Path(configuration["results"]))
        assert [line["label"] for line in lines] == ["bug", "bug"]
        assert all(line["probability"] > 0.7 for line in lines), configuration["name"]


SETS = Path(__file__).parents[2] / "docs" / "examples" / "evaluation"


@pytest.mark.parametrize(
    ("task", "options", "rows"),
    [
        ("json-extract", ["--fields", "customer, product, quantity int, city"], 100),
        ("classify", ["--labels", "bug, question, praise, cancel"], 100),
        ("translate", [], 100),
        ("summarize", [], 100),
        ("complete", ["-n", "8"], 100),
    ],
)
def test_our_sets_can_be_evaluated(
    evaluate: Evaluate, task: str, options: list[str], rows: int
) -> None:
    result = evaluate(task, SETS / f"{task}.csv", *options, "--dry-run", "-o", "out")
    plan = json.loads(result.stdout)
    assert (plan["rows"], plan["configurations"][0]["would_fail"]) == (rows, 0), result.stderr


@pytest.mark.parametrize(
    ("engine", "model"),
    [("llama.cpp", "smollm2"), ("ctransformers", "smollm2_for_ctransformers")],
)
def test_both_engines(
    run: Run, here: Path, request: pytest.FixtureRequest, engine: str, model: str
) -> None:
    write_known(here / "rows.jsonl", ("Bonjour.", "Hello."), ("Merci.", "Thank you."))
    path = request.getfixturevalue(model)
    options = ("-o", "out", "--engine", engine, "-n", 6, "--temperature", 0, "--json")
    (configuration,) = answer(run("evaluate", "translate", "rows.jsonl", "-m", path, *options))[
        "configurations"
    ]
    assert configuration["failed"] == 0
    assert configuration["memory"] > 10**8


def test_the_probability_of_known_continuations_is_the_same_in_both_engines(
    run: Run, here: Path, smollm2: Path, smollm2_for_ctransformers: Path
) -> None:
    known = [
        ("The capital of France is", " Paris"),
        ("The capital of France is", " a banana"),
        ("One, two, three, four,", " five, six, seven"),
    ]
    write_known(here / "rows.jsonl", *known)
    found = {}
    for engine, model in (("llama.cpp", smollm2), ("ctransformers", smollm2_for_ctransformers)):
        options = ("-o", engine, "--engine", engine, "-m", model, "-n", 1, "--temperature", 0)
        result = run("evaluate", "complete", "rows.jsonl", *options, "--json")
        (configuration,) = answer(result)["configurations"]
        lines = {each["id"]: each["known"] for each in lines_of(Path(configuration["results"]))}
        check_schema("batch-record", lines_of(Path(configuration["results"]))[0])
        found[engine] = [lines[row] for row in "123"]
        tokens = sum(each["tokens"] for each in found[engine])
        total = sum(each["logprob"] for each in found[engine])
        value = configuration["metrics"]["perplexity"]["value"]
        assert value == pytest.approx(math.exp(-total / tokens))
        paris, banana, five = (each["logprob"] for each in found[engine])
        assert -1 < paris < -0.01
        assert banana < -8
        assert five > -4  # of five tokens
    for one, other in zip(*found.values(), strict=True):
        assert one["tokens"] == other["tokens"]
        assert one["logprob"] == pytest.approx(other["logprob"], rel=0.03, abs=0.2)


def test_a_row_runs_again_if_its_known_continuation_changes(evaluate: Evaluate, here: Path) -> None:
    write_known(here / "rows.jsonl", ("one two", " three"), ("four", " five"))
    assert evaluate("complete", "rows.jsonl", "-o", "out").status == 0
    write_known(here / "rows.jsonl", ("one two", " three"), ("four", " six"))
    again = evaluate("complete", "rows.jsonl", "-o", "out", "--json")
    assert "1 of them in earlier runs" in again.stderr
    assert answer(again)["configurations"][0]["metrics"]["perplexity"]["value"] > 1


def test_the_script_evaluates_every_task(
    here: Path, mistral: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a virtual environment whose program makes a dry run of each call."""
    program, pip = tmp_path / "venv/bin/mistral-cli", tmp_path / "venv/bin/pip"
    program.parent.mkdir(parents=True)
    dry = f'exec {sys.executable} -m mistral_cli "$@" --engine fake --dry-run -o {tmp_path}/out'
    for path, line in ((program, dry), (pip, "exit 1")):
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)
    (tmp_path / "venv/.installed[dev]").touch()
    monkeypatch.setenv("VENV", str(tmp_path / "venv"))
    monkeypatch.setenv("ROWS", "3")
    script = SETS.parents[2] / "scripts" / "evaluate"
    shown = subprocess.run([script, mistral], capture_output=True, text=True, check=True).stdout
    lines = [json.loads(line) for line in shown.splitlines() if line.startswith("{")]
    assert [each["command"].removeprefix("evaluate ") for each in lines] == [
        "json-extract", "classify", "translate", "summarize", "complete"
    ]  # fmt: skip
    assert {each["rows"] for each in lines} == {3}
    assert not any(each["configurations"][0]["would_fail"] for each in lines)
