"""`--on-limit close` and its settings, on models that would write one string forever."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support.endless import LIMIT, SCHEMA, check_closed, write_endless
from support.program import Run

from mistral_cli.system.config import config_file

CLOSE = ("--schema", json.dumps(SCHEMA), "--on-limit", "close", "-n", LIMIT, "--threads", 1)


@pytest.fixture(scope="session", params=["llama.cpp", "ctransformers"])
def endless(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, ...]:
    """The options of a model that does not end its first string, and does not repeat itself.

    llama.cpp applies the grammar of the first itself, and the second goes token by token.
    """
    engine = request.param
    vocabulary = request.getfixturevalue("smollm2" if engine == "llama.cpp" else "mistral")
    path = write_endless(tmp_path_factory.mktemp("models") / "endless.gguf", vocabulary)
    return ("-m", str(path), "--engine", engine)


def test_one_answer(endless: tuple[str, ...], run: Run) -> None:
    result = run("json-extract", "A text.", *CLOSE, "--json", *endless)
    assert result.status == 0, result.stderr
    answer = json.loads(result.stdout)
    check_closed(answer["data"])
    assert answer["finish_reason"] == "closed"
    assert answer["completion_tokens"] <= LIMIT
    (warning,) = answer["warnings"]
    assert warning.startswith("the answer reached its limit and was closed at /name")
    assert warning in result.stderr


def test_without_it_the_answer_fails(endless: tuple[str, ...], run: Run) -> None:
    result = run("json-extract", "A text.", *CLOSE, "--on-limit", "fail", *endless)
    assert (result.status, result.stdout) == (6, "")


def test_a_stop_text_that_cuts_the_json_is_named(endless: tuple[str, ...], run: Run) -> None:
    stops = [option for word in (" in", " as", " be", " zzz") for option in ("--stop", word)]
    result = run("json-extract", "A text.", *CLOSE, *endless, *stops)
    assert (result.status, result.stdout) == (7, "")
    assert re.search(r"the stop text ' (in|as|be)' cut the JSON", result.stderr)
    assert "Drop --stop." in result.stderr


def test_a_batch(endless: tuple[str, ...], run: Run, tmp_path: Path) -> None:
    rows, results = tmp_path / "rows.jsonl", tmp_path / "results.jsonl"
    rows.write_text('{"text": "A text."}\n{"text": "Another text."}\n', encoding="utf-8")
    batch = ("batch", "json-extract", rows, "-o", results, *endless, *CLOSE)
    result = run(*batch, "--on-limit", "fail")
    assert result.status == 10, result.stderr
    result = run(*batch, "--retry-failed")  # the same rows, although the option changed
    assert result.status == 0, result.stderr
    records = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    assert [record["finish_reason"] for record in records] == ["closed", "closed"]
    for record in records:
        check_closed(record["data"])
        assert "was closed at /name" in record["warnings"][0]


# --- where the setting comes from ----------------------------------------------------------------

HEADER = "+++\n{}[schema]\ntype = 'object'\n+++\n{{{{ text }}}}"


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = tmp_path / "closing.txt"
    path.write_text(HEADER.format("on_limit = 'close'\n"), encoding="utf-8")
    return path


def planned(run: Run, mistral: Path, *arguments: object, **environment: str) -> tuple[str, str]:
    """The value in a dry run and its source, after a look at the note without --json."""
    call = (*arguments, "A text.", "-m", mistral, "--engine", "fake", "--dry-run")
    result = run(*call, "--json", **environment)
    assert result.status == 0, result.stderr
    plan = json.loads(result.stdout)
    value, source = plan["on_limit"], plan["sampling_sources"]["on_limit"]
    origin = {
        "option": "from options",
        "template": "from the template",
        "config": "from the configuration",
        "default": "by default",
    }[source]
    assert f"on the limit: {value} {origin}\n" in run(*call, **environment).stderr
    return value, source


def test_the_option_comes_before_the_template_and_that_before_the_configuration(
    run: Run, mistral: Path, template: Path
) -> None:
    extract = ("json-extract", "--fields", "name")
    assert planned(run, mistral, *extract) == ("fail", "default")
    config_file().parent.mkdir(parents=True)
    config_file().write_text('on_limit = "close"\n', encoding="utf-8")
    assert planned(run, mistral, *extract) == ("close", "config")
    assert planned(run, mistral, *extract, MISTRAL_CLI_ON_LIMIT="fail") == ("fail", "default")
    assert planned(run, mistral, *extract, "--on-limit", "fail") == ("fail", "option")
    assert planned(run, mistral, "generate", "--template", template) == ("close", "template")
    template.write_text(HEADER.format("on_limit = 'fail'\n"), encoding="utf-8")
    for task in ("generate", "json-extract"):
        assert planned(run, mistral, task, "--template", template) == ("fail", "template")


def test_an_answer_that_is_text_has_no_such_setting(run: Run, mistral: Path) -> None:
    call = ("generate", "Hi", "-m", mistral, "--engine", "fake", "--dry-run")
    plan = json.loads(run(*call, "--json", MISTRAL_CLI_ON_LIMIT="close").stdout)
    assert plan["on_limit"] is None
    assert "on_limit" not in plan["sampling_sources"]
    assert "on the limit" not in run(*call).stderr


def test_a_wrong_value_is_refused(run: Run, mistral: Path) -> None:
    call = ("json-extract", "Hi", "-m", mistral, "--engine", "fake")
    result = run(*call, MISTRAL_CLI_ON_LIMIT="stop")
    assert result.status == 2
    assert "'stop' is not a value of on_limit" in result.stderr
    assert "Write fail or close." in result.stderr


IN_TOML = """+++
on_limit = "close"

[schema]
type = "object"
required = ["name", "age"]
additionalProperties = false

[schema.properties]
name = {type = "string"}
note = {type = "string"}
age = {type = "integer", minimum = 1, maximum = 9}
+++
{{ text }}"""


def test_other_tasks_close_their_answers_too(
    endless: tuple[str, ...], run: Run, tmp_path: Path
) -> None:
    """`generate` with a template, and a batch of OpenAI's requests."""
    template, requests = tmp_path / "closing.txt", tmp_path / "requests.jsonl"
    template.write_text(IN_TOML, encoding="utf-8")
    greedy = ("--temperature", 0, "--repetition-penalty", 1)
    options = ("-n", LIMIT, "--threads", 1, *greedy, *endless)
    result = run("generate", "A text.", "--template", template, *options)
    assert result.status == 0, result.stderr
    check_closed(json.loads(result.stdout))
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}
    body = {"messages": [{"role": "user", "content": "A text."}], "response_format": form}
    with requests.open("w", encoding="utf-8") as file:
        for on_limit in ("close", "fail"):
            line = {"custom_id": on_limit, "body": {**body, "on_limit": on_limit}}
            file.write(json.dumps(line) + "\n")
    result = run("batch", "generate", requests, *options)
    closed, failed = sorted(map(json.loads, result.stdout.splitlines()), key=lambda r: r["id"])
    check_closed(closed["data"])
    assert (closed["finish_reason"], failed["error"]["code"]) == ("closed", 6)
