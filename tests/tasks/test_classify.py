"""`classify`: the label of a text, from the probabilities of the labels."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.batch_program import lines_of
from support.fake_engine import Script
from support.program import Run

from mistral_cli.errors import ExitCode

LABELS = ("--labels", "bug, question, praise")
MULTI = (*LABELS, "--multi", "--no-calibrate")
ROOT = Path(__file__).parents[2]
Prompts = Callable[..., list[str]]
LABELLED = ROOT / "docs" / "examples" / "labelled"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistral: Path, script: Script) -> Path:
    """An empty folder, with the fake engine: it finds the last words of a prompt likely."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MISTRAL_CLI_MODEL", str(mistral))
    monkeypatch.setenv("MISTRAL_CLI_ENGINE", "fake")
    script()
    return folder


def ask(run: Run, *arguments: Any, **more: Any) -> dict[str, Any]:
    result = run("classify", *arguments, "--json", "-q", **more)
    assert result.status == 0, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def of(answer: dict[str, Any]) -> dict[str, float]:
    return {each["name"]: each["probability"] for each in answer["labels"]}


# --- the label ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_the_label_is_printed_alone(run: Run) -> None:
    result = run("classify", *LABELS, stdin="The menu is broken: a bug\n")
    assert (result.status, result.stdout, result.stderr) == (0, "bug\n", "")


@pytest.mark.usefixtures("here")
def test_json_has_every_label_and_generates_nothing(run: Run) -> None:
    answer = ask(run, *LABELS, "A good question")
    assert (answer["command"], answer["text"], answer["label"]) == ("classify",) + ("question",) * 2
    assert answer["chosen"] == ["question"]
    assert answer["completion_tokens"] == 0
    assert next(iter(of(answer))) == "question"
    assert sum(of(answer).values()) == pytest.approx(1, abs=1e-4)
    assert answer["probability"] == of(answer)["question"] > 0.8


@pytest.mark.usefixtures("here")
def test_the_likeliest_labels_are_printed_with_their_probabilities(run: Run) -> None:
    lines = run("classify", *LABELS, "--no-calibrate", "--top", 2, "praise").stdout.splitlines()
    names, probabilities = zip(*(line.split("\t") for line in lines), strict=True)
    assert names == ("praise", "bug")
    assert float(probabilities[0]) > 0.8 > float(probabilities[1])


@pytest.mark.usefixtures("here")
def test_otherwise_takes_the_place_of_an_unlikely_label(run: Run) -> None:
    options = (*LABELS, "--no-calibrate", "--threshold", 0.5, "--otherwise", "unknown")
    answer = ask(run, *options, "Nothing of that kind")
    assert (answer["label"], answer["text"], answer["chosen"]) == ("unknown", "unknown", [])
    assert answer["probability"] == pytest.approx(1 / 3, abs=1e-4)
    assert ask(run, *options, "a bug")["label"] == "bug"


@pytest.mark.usefixtures("here")
def test_neutral_texts_correct_a_bias(run: Run, script: Script) -> None:
    script(scores={"bug": -0.5, "question": -2.5, "praise": -2.5})
    assert of(ask(run, *LABELS, "--no-calibrate", "A text."))["bug"] > 0.7
    assert of(ask(run, *LABELS, "A text.")) == pytest.approx(
        dict.fromkeys(("bug", "question", "praise"), 1 / 3), abs=1e-4
    )


@pytest.mark.usefixtures("here")
def test_several_labels_may_fit_or_none(run: Run, script: Script) -> None:
    script(scores={"yes": -0.2, "Yes": -9.0, "no": -2.0, "No": -9.0})
    answer = ask(run, *MULTI, "A text.")
    assert answer["multi"] is True
    assert answer["chosen"] == ["bug", "question", "praise"]
    assert set(of(answer).values()) == {answer["probability"]}
    assert run("classify", *MULTI, "A text.").stdout == "bug\nquestion\npraise\n"
    options = (*MULTI, "--threshold", 0.99)
    assert ask(run, *options, "A text.")["label"] is None
    assert run("classify", *options, "A text.").stdout == "\n"
    assert run("classify", *options, "--otherwise", "-", "A text.").stdout == "-\n"


@pytest.mark.usefixtures("here")
def test_the_reason_comes_after_the_label(run: Run, script: Script) -> None:
    script(pieces=["It ", "is broken.", "\nMore."])
    result = run("classify", *LABELS, "--explain", "It is broken.")
    label, reason = result.stdout.splitlines()
    assert label in {"bug", "question", "praise"}
    assert reason == "It is broken."
    answer = ask(run, *LABELS, "--explain", "It is broken.")
    assert (answer["label"], answer["reason"]) == (label, reason)
    assert answer["completion_tokens"] > 0
    otherwise = ("--threshold", 1, "--otherwise", "unknown")
    assert run("classify", *LABELS, "--explain", *otherwise, "x").stdout == "unknown\n"


def test_several_texts_and_files(run: Run, here: Path) -> None:
    (here / "a.txt").write_text("some praise")
    result = run("classify", *LABELS, "a bug", "-f", "a.txt", "--json", "-q")
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert {(answer["source"], answer["label"]) for answer in answers} >= {("a.txt", "praise")}


def test_the_answers_to_neutral_texts_are_kept(
    run: Run, here: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISTRAL_CLI_PROMPT_CACHE", "1 GB")
    script(scores={"bug": -0.5, "question": -2.5, "praise": -2.5})
    assert run("classify", *LABELS, "A text.").status == 0
    (prior,) = (here.parent / "cache" / "mistral-cli" / "priors").iterdir()
    for content in ("[0.0, -1.0, -2.0]", "[0]", "{", "[NaN, 0, 0]"):
        prior.write_text(content)
        used = of(ask(run, *LABELS, "A text."))["bug"] > 0.4
        assert used == (content == "[0.0, -1.0, -2.0]"), content
    prior.write_text("[0.0, -1.0, -2.0]")
    assert of(ask(run, *LABELS, "A text.", "--no-cache"))["bug"] == pytest.approx(1 / 3, abs=1e-4)


@pytest.mark.usefixtures("here")
def test_labels_are_decoded_as_the_texts_are(run: Run) -> None:
    latin = "fr\udce4ge"  # as Python reads bytes that are not UTF-8
    options = ("--labels", f"{latin}, lob", "--no-calibrate", "--encoding", "latin-1")
    assert run("classify", *options, "eine fr\udce4ge").stdout == "fräge\n"
    unlike = ("--threshold", 0.9, "--otherwise", latin)
    assert run("classify", *options, *unlike, "x").stdout == "fräge\n"


# --- the prompt --------------------------------------------------------------------------------


@pytest.fixture
def prompts(run: Run, here: Path, smollm2: Path) -> Prompts:
    """The prompts of a dry run, in a vocabulary that can spell them."""
    model = ("-m", smollm2, "--engine", "llama.cpp", "--dry-run")

    def prompts(*arguments: Any) -> list[str]:
        return prompts_of(run("classify", *arguments, *model, "--json"))

    return prompts


def prompts_of(result: Any) -> list[str]:
    assert result.status == 0, result.stderr
    return [json.loads(line)["prompt"] for line in result.stdout.splitlines()]


def test_the_labels_are_shown_in_both_orders_or_in_one(prompts: Prompts) -> None:
    first, second = prompts(*LABELS, "A text.", "--both-orders")
    assert "- bug\n- question\n- praise\n\nText: A text.\n\nLabel:" in first
    assert "- praise\n- question\n- bug\n\nText: A text.\n\nLabel:" in second
    assert prompts(*LABELS, "A text.") == [first]


def test_each_label_of_multi_has_a_question_after_the_text(prompts: Prompts) -> None:
    questions = prompts(*MULTI, "A text.")
    assert len(questions) == 3
    for label, question in zip(("bug", "question", "praise"), questions, strict=True):
        assert f'Text: A text.\n\nDoes the label "{label}" fit this text?' in question


def test_descriptions_and_examples_are_in_the_prompt(prompts: Prompts, here: Path) -> None:
    (here / "labels.yaml").write_text(
        "bug: {description: something is broken, examples: [It crashes.]}\npraise: thanks\n"
    )
    (here / "more.csv").write_text("text,label\nWell done!,Praise\n")
    files = ("--labels-file", "labels.yaml", "--examples", "more.csv")
    (prompt,) = prompts(*files, "A text.")
    assert "- bug: something is broken\n- praise: thanks\n" in prompt
    assert "Text: It crashes.\n\nLabel: bug\n\nText: Well done!\n\nLabel: praise\n\n" in prompt
    question = prompts(*files, "--multi", "A text.")[1]
    assert 'Does the label "praise" (thanks) fit this text? Answer yes or no: yes' in question
    assert question.count("Answer yes or no: no") == 1


def test_examples_are_shortened_until_they_fit(run: Run, here: Path, prompts: Prompts) -> None:
    with (here / "many.csv").open("w", newline="") as file:
        rows = [("word " * 200, label) for label in ("bug", "question", "praise") * 40]
        csv.writer(file).writerows([("text", "label"), *rows])
    options = (*LABELS, "--examples", "many.csv", "a bug")
    (shown,) = prompts(*options, "-c", 1000)
    counts = [shown.count(f"Label: {label}") for label in ("bug", "question", "praise")]
    assert min(counts) > 3
    assert max(counts) - min(counts) <= 1
    assert "word …" in shown
    assert run("classify", *options).stdout == "bug\n"


def test_a_template_of_ones_own_gets_the_labels(prompts: Prompts, here: Path) -> None:
    (here / "own.txt").write_text("{{ labels | map(attribute='name') | join('/') }}? {{ text }}")
    assert "bug/question/praise? A text." in prompts(*LABELS, "--template", "own.txt", "A text.")[0]


# --- long texts --------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["split", "head", "tail"])
def test_a_long_text_is_read_in_parts_or_cut(run: Run, here: Path, policy: str) -> None:
    text = "bug. " + "It says this and that. " * 300 + "praise"
    (here / "long.txt").write_text(text)
    answer = ask(run, *LABELS, "-f", "long.txt", "-c", 1000, "--overflow", policy)
    if policy == "split":
        assert answer["chunks"] > 2
        assert answer["left_out"] is None
    else:
        assert answer["chunks"] == 1
        assert answer["left_out"].startswith({"head": "the last", "tail": "the first"}[policy])
    assert sum(of(answer).values()) == pytest.approx(1, abs=1e-4)
    result = run("classify", *LABELS, "-f", "long.txt", "-c", 1000, "--overflow", "error")
    assert result.status == ExitCode.CONTEXT_EXCEEDED
    assert ask(run, *MULTI, "-f", "long.txt", "-c", 1000, "--overflow", policy)["chunks"] > 0


# --- calibration -------------------------------------------------------------------------------


def test_a_calibration_is_learned_saved_and_used(run: Run, here: Path) -> None:
    rows = [("some bug", "bug"), ("some question", "question"), ("a bug", "praise")] * 5
    with (here / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows, ("other", "spam")])
    learn = (*LABELS, "--calibration", "rows.csv", "--save-calibration", "c.json")
    result = run("classify", *learn, "a bug")
    assert result.stdout == "bug\n"
    assert "calibrated on 16 texts: expected calibration error 0." in result.stderr
    saved = json.loads((here / "c.json").read_text())
    assert saved["labels"] == ["bug", "question", "praise"]
    assert saved["temperature"] > 1  # a third of the certain answers is wrong
    assert set(saved["thresholds"]) == {"bug", "question", "praise"}
    calibrated = ask(run, *LABELS, "--calibration", "c.json", "a bug")
    assert 0.5 < calibrated["probability"] < ask(run, *LABELS, "a bug")["probability"]
    unlike = ("--otherwise", "unknown", "--calibration", "c.json", "Nothing of that kind")
    assert ask(run, *LABELS, *unlike)["label"] == "unknown"
    (here / "c.json").write_text(json.dumps({**saved, "model": "another"}))
    warned = run("classify", *LABELS, "--calibration", "c.json", "x")
    assert "the calibration was learned with another, and not with" in warned.stderr
    other = run("classify", "--labels", "a, b", "--calibration", "c.json", "x")
    assert other.status == ExitCode.USAGE
    assert "a calibration of other labels: bug, question, praise" in other.stderr


def test_a_calibration_of_multi(run: Run, here: Path) -> None:
    (here / "rows.csv").write_text("text,label\nsome text,bug|praise\nother text,\n")
    learn = (*MULTI, "--calibration", "rows.csv", "--save-calibration", "c.json")
    assert run("classify", *learn, "x").status == 0
    saved = json.loads((here / "c.json").read_text())
    assert (saved["multi"], sorted(saved["thresholds"])) == (True, ["bug", "praise"])
    assert run("classify", *MULTI, "--calibration", "c.json", "x").stderr == ""


@pytest.mark.parametrize("content", ["[]", "{", '{"schema_version": 2}', '{"schema_version": 1}'])
def test_a_file_that_is_no_calibration_is_refused(run: Run, here: Path, content: str) -> None:
    (here / "c.json").write_text(content)
    result = run("classify", *LABELS, "--calibration", "c.json", "x")
    assert result.status == ExitCode.USAGE
    assert "c.json is" in result.stderr


# --- wrong options -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ((), "there are no labels"),
        ((*LABELS, "--labels-file", "l.txt"), "cannot be combined"),
        (("--labels", "bug"), "'bug' is the only label"),
        ((*LABELS, "--threshold", 0.5), "--threshold needs --otherwise or --multi"),
        ((*LABELS, "--otherwise", "none"), "--otherwise needs --threshold, --multi or"),
        ((*LABELS, "--top", 2, "--explain"), "--explain and --top"),
        ((*LABELS, "--save-calibration", "c.json"), "needs a table to learn from"),
        ((*LABELS, "--raw"), "classify and --raw"),
        ((*LABELS, "--reasoning", "on"), "without a thought"),
        (("--labels-file", "none.csv"), "cannot be read"),
    ],
)
@pytest.mark.usefixtures("here")
def test_wrong_options_are_refused(run: Run, options: tuple[Any, ...], problem: str) -> None:
    result = run("classify", *options, "x")
    assert result.status == ExitCode.USAGE, result.stderr
    assert problem in result.stderr
    assert result.stdout == ""


# --- batches -----------------------------------------------------------------------------------


def test_a_batch_has_the_label_and_its_probability(run: Run, here: Path) -> None:
    (here / "rows.csv").write_text("text\na bug\nsome praise\n")
    batch = ("batch", "classify", "rows.csv", "-o", "out.jsonl", "--report", "page.html")
    assert run(*batch, *LABELS).status == 0
    records = {record["id"]: record for record in lines_of(here / "out.jsonl")}
    assert [records[f"rows.csv:{line}"]["label"] for line in (2, 3)] == ["bug", "praise"]
    assert all(record["probability"] > 0.8 for record in records.values())
    assert "praise" in (here / "page.html").read_text()
    assert "2 of 2 rows done, 2 of them in earlier runs" in run(*batch, *LABELS).stderr
    # Another threshold or order may give another label.
    again = run(*batch, *LABELS, "--both-orders")
    assert "2 of 2 rows done, 0 failed" in again.stderr


def test_a_dry_run_of_a_batch_counts_a_request_for_each_order(run: Run, here: Path) -> None:
    (here / "rows.csv").write_text("text\na bug\nsome praise\n")
    batch = ("batch", "classify", "rows.csv", *LABELS, "--both-orders", "--dry-run")
    plan = json.loads(run(*batch).stdout)
    assert (plan["rows"], plan["requests"]) == (2, 4)


# --- real models -------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["llama.cpp", "ctransformers"])
def test_a_real_model_on_each_engine(
    run: Run, here: Path, smollm2: Path, smollm2_for_ctransformers: Path, engine: str
) -> None:
    model = smollm2 if engine == "llama.cpp" else smollm2_for_ctransformers
    labels = ("--labels", "bug report, bug, praise", "-m", model, "--engine", engine, "-t", 1)
    texts = ("Thank you so much, I love it!", "The program crashes when I press the button.")
    thanks, crash = (ask(run, *labels, text) for text in texts)
    for answer in (thanks, crash):
        assert sum(of(answer).values()) == pytest.approx(1, abs=1e-4)
    assert of(thanks)["praise"] > of(crash)["praise"]


def test_with_both_orders_the_order_does_not_decide(run: Run, here: Path, smollm2: Path) -> None:
    model = ("-m", smollm2, "--engine", "llama.cpp", "-t", 1, "--both-orders")
    one = of(ask(run, "--labels", "bug, question, praise", *model, "Where is the menu?"))
    other = of(ask(run, "--labels", "praise, question, bug", *model, "Where is the menu?"))
    assert one == pytest.approx(other, abs=0.05)


def test_a_correction_helps_a_small_model(run: Run, here: Path, smollm2: Path) -> None:
    with (LABELLED / "tickets.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[:36]
    (here / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    right = {}
    for name, options in {"none": ["--no-calibrate"], "neutral": []}.items():
        batch = ("batch", "classify", "rows.jsonl", *LABELS, "-o", f"{name}.jsonl", *options)
        assert run(*batch, "-m", smollm2, "--engine", "llama.cpp").status == 0
        answers = {line["id"]: line["label"] for line in lines_of(here / f"{name}.jsonl")}
        right[name] = sum(
            answers[f"rows.jsonl:{number}"] == row["label"] for number, row in enumerate(rows, 1)
        )
    assert right["neutral"] >= right["none"] + 6
