"""The program as users run it: a real process with its streams, signals and exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.program import Run

from mistral_cli.errors import ExitCode

ARTICLE = "My name is Suvojit Hore, working in company AB and my address is AZ Street NY."


@pytest.fixture
def fake(tmp_path: Path, mistral: Path) -> Callable[..., dict[str, str]]:
    """Return a function that makes the environment for a scripted run of the fake engine."""

    def fake(**script: object) -> dict[str, str]:
        path = tmp_path / "script.json"
        path.write_text(json.dumps(script), encoding="utf-8")
        return {
            "MISTRAL_CLI_FAKE": str(path),
            "MISTRAL_CLI_MODEL": str(mistral),
            "MISTRAL_CLI_ENGINE": "fake",
        }

    return fake


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start the program and leave it running; it is killed at the end of the test."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(*arguments: object, **env: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "mistral_cli", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **env},
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("engine", ["llama.cpp", "ctransformers"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("generate", "Say hello in one sentence."),
        ("translate", "--to", "French", "Good morning."),
        ("summarize", "--sentences", "2", "The fox ran. The dog slept. The sun shone."),
        ("json-extract", "--fields", "name, company, address", ARTICLE),
    ],
    ids=lambda arguments: arguments[0],
)
def test_every_task_answers_on_a_real_model_with_both_engines(
    run: Run,
    engine: str,
    arguments: tuple[str, ...],
    smollm2: Path,
    smollm2_for_ctransformers: Path,
) -> None:
    model = smollm2 if engine == "llama.cpp" else smollm2_for_ctransformers
    result = run(*arguments, "-m", model, "--engine", engine, "--seed", 1, "-n", 100, "--json")
    assert result.status == 0, result.stderr
    envelope = json.loads(result.stdout)
    assert envelope["command"] == arguments[0]
    assert envelope["engine"] == engine
    assert envelope["prompt_tokens"] > 10
    times = 2 if arguments[0] == "summarize" else 1  # retried if the model miscounts
    assert 0 < envelope["completion_tokens"] <= 100 * times
    if arguments[0] == "json-extract":
        assert set(envelope["data"]) == {"name", "company", "address"}
        assert envelope["data"]["name"] == "Suvojit Hore"
        spans = {span["path"]: ARTICLE[span["start"] : span["end"]] for span in envelope["spans"]}
        assert spans == {f"/{name}": value for name, value in envelope["data"].items() if value}
    else:
        assert envelope["text"].strip()


def test_the_json_output_has_the_documented_keys(run: Run, smollm2: Path) -> None:
    result = run("generate", "Hi", "-m", smollm2, "-n", 3, "--seed", 9, "--json")
    envelope = json.loads(result.stdout)
    promised = "schema_version command model engine text finish_reason prompt_tokens "
    promised += "cached_tokens completion_tokens gpu_layers gpu_reason timings seed warnings"
    assert set(promised.split()) <= set(envelope)
    assert envelope["schema_version"] == 2
    assert (envelope["seed"], envelope["gpu_layers"]) == (9, 0)
    assert envelope["finish_reason"] == "length"
    assert "cut at 3 tokens" in envelope["warnings"][-1]
    assert "cut at 3 tokens" in result.stderr


def test_the_same_seed_gives_the_same_text(run: Run, smollm2: Path) -> None:
    arguments = ("generate", "Tell me a story.", "-m", smollm2, "-n", 30, "-q")
    first, second = run(*arguments, "--seed", 5), run(*arguments, "--seed", 5)
    other = run(*arguments, "--seed", 6)
    assert first.stdout == second.stdout != other.stdout


def test_a_pipe_receives_only_the_answer(run: Run, fake: Callable[..., dict[str, str]]) -> None:
    long = (
        ["  The", " quick"]
        + [f" brown{number}" for number in range(100)]
        + [" fox.\n\n", "日本語 🙂", "\n\n"]
    )
    result = run("generate", "hi", **fake(pieces=long))
    assert result.stdout == "".join(long).strip() + "\n"
    assert result.stderr == ""


def test_a_pipe_and_an_argument_are_text_and_instruction(run: Run, smollm2: Path) -> None:
    result = run("generate", "Count the words.", "-m", smollm2, "--dry-run", stdin="one two\n")
    assert "one two\n\nCount the words.<|im_end|>" in result.stdout


def test_several_texts_are_answered_one_by_one(
    run: Run, fake: Callable[..., dict[str, str]]
) -> None:
    result = run("translate", "one", "two", "--json", **fake(pieces=["x"]))
    assert [json.loads(line)["text"] for line in result.stdout.splitlines()] == ["x", "x"]


def test_an_error_names_its_text_among_several(run: Run, mistral: Path, tmp_path: Path) -> None:
    long = tmp_path / "long.txt"
    long.write_text("word " * 900, encoding="utf-8")
    short = tmp_path / "short.txt"
    short.write_text("word", encoding="utf-8")
    result = run("generate", "-f", short, "-f", long, "-m", mistral, "--engine", "fake")
    assert result.status == ExitCode.CONTEXT_EXCEEDED
    assert f"{long} (text 2 of 2): the prompt has" in result.stderr


def test_a_warning_belongs_to_its_answer_and_follows_it(
    run: Run, fake: Callable[..., dict[str, str]]
) -> None:
    script = fake(pieces=["some", " words"], finish_reason="length")
    both = run("translate", "a", "b", "--json", **script)
    assert [len(json.loads(line)["warnings"]) for line in both.stdout.splitlines()] == [1, 1]
    merged = subprocess.run(
        ["sh", "-c", f'"{sys.executable}" -m mistral_cli generate hi 2>&1'],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, **script},
        timeout=60,
        check=False,
    )
    assert merged.stdout.startswith("some words\nmistral-cli: warning: the answer was cut")


def test_a_file_named_twice_is_answered_twice(
    run: Run, fake: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("hi", encoding="utf-8")
    file = tmp_path / "a.txt"
    assert run("summarize", "-f", file, "-f", file, **fake(pieces=["x"])).stdout == "x\nx\n"


def test_a_path_in_the_home_of_another_user(
    run: Run, fake: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    (tmp_path / "config").write_text("a file where a folder should be", encoding="utf-8")
    assert run("generate", "hi", **fake(pieces=["x"])).stdout == "x\n"


def test_a_dash_is_stdin(run: Run, mistral: Path) -> None:
    result = run("generate", "Explain:", "-", "-m", mistral, "--dry-run", "-q", stdin="hi")
    assert result.stdout == "<s> [INST] Explain:\n\nhi [/INST]\n"


def test_a_template_may_name_the_language(run: Run, mistral: Path, tmp_path: Path) -> None:
    template = tmp_path / "german.txt"
    template.write_text('+++\n[params]\nto = "German"\n+++\n{{ to }}: {{ text }}', encoding="utf-8")
    arguments = ("translate", "hi", "--template", template, "-m", mistral, "--dry-run", "-q")
    assert run(*arguments).stdout == "<s> [INST] German: hi [/INST]\n"
    assert run(*arguments, "--to", "Thai").stdout == "<s> [INST] Thai: hi [/INST]\n"


@pytest.mark.parametrize("option", [("--engine", "nope"), ("-ngl", "many")])
def test_wrong_names_are_reported_before_a_download(
    run: Run, option: tuple[str, str], tmp_path: Path
) -> None:
    result = run("generate", "hi", *option, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    assert (result.status, result.stdout) == (ExitCode.USAGE, "")


@pytest.mark.parametrize("arguments", ["--help", "--version"])
def test_help_on_a_full_disk_and_into_a_closed_pipe(arguments: str) -> None:
    program = f'"{sys.executable}" -m mistral_cli {arguments}'
    full = subprocess.run(["sh", "-c", f"{program} >/dev/full"], capture_output=True, check=False)
    assert full.returncode == ExitCode.FAILURE
    assert b"No space left" in full.stderr
    assert b"bug" not in full.stderr


def test_stop_texts_end_the_answer(run: Run, fake: Callable[..., dict[str, str]]) -> None:
    script = fake(pieces=["one ", "two E", "ND three"])
    result = run("generate", "hi", "--stop", "END", "--json", **script)
    envelope = json.loads(result.stdout)
    assert envelope["text"] == "one two"
    assert envelope["finish_reason"] == "stop"


def test_a_dry_run_prints_the_whole_request_and_runs_nothing(
    run: Run, fake: Callable[..., dict[str, str]]
) -> None:
    result = run("generate", "hi", "--dry-run", "--json", **fake(error="it was run"))
    plan = json.loads(result.stdout)
    assert result.status == 0
    assert plan["prompt"].startswith("<s>")
    assert len(plan["prompt_token_ids"]) == plan["prompt_tokens"]
    assert plan["tokens_left"] == plan["context_length"] - plan["prompt_tokens"]
    assert (plan["temperature"], plan["top_k"], plan["top_p"]) == (0.9, 55, 0.93)
    assert plan["repetition_penalty"] == 1.2
    assert plan["engine"] == "fake"
    assert {plan["sampling_sources"][name] for name in ("temperature", "min_p")} == {"default"}


def test_options_overrule_the_template(run: Run, smollm2: Path) -> None:
    arguments = ("summarize", "text", "-m", smollm2, "--dry-run", "--json")
    assert json.loads(run(*arguments).stdout)["max_tokens"] == 512
    plan = json.loads(run(*arguments, "-n", 7, "--temperature", 0, "-c", 600).stdout)
    assert (plan["max_tokens"], plan["temperature"], plan["context_length"]) == (7, 0, 600)
    sources = plan["sampling_sources"]
    assert [sources[name] for name in ("max_tokens", "top_p")] == ["option", "template"]
    stderr = run("summarize", "text", "-m", smollm2, "--dry-run", "--min-p", 0.25).stderr
    assert "min_p 0.25 from options; temperature 0.3, top_k 40, top_p 0.9, " in stderr
    assert "repetition_penalty 1.1 from the template; repeat_last_n 64, " in stderr
    assert "frequency_penalty 0 by default; seed random\n" in stderr


def test_an_engine_without_a_sampler_refuses_its_options(run: Run, mistral: Path) -> None:
    result = run(
        "generate", "hi", "-m", mistral, "--engine", "ctransformers", "--dry-multiplier", 1
    )
    assert result.status == 2
    assert "ctransformers does not have the DRY sampler" in result.stderr
    assert "Use --engine llama.cpp" in result.stderr


def test_system_text_and_raw(run: Run, mistral: Path) -> None:
    system = run("generate", "hi", "-m", mistral, "--system", "Be kind.", "--dry-run", "-q")
    assert system.stdout == "<s> [INST] Be kind.\n\nhi [/INST]\n"
    raw = run("generate", "Once upon", "-m", mistral, "--raw", "--dry-run", "-q")
    assert raw.stdout == "<s> Once upon\n"


FAILURES = [
    (ExitCode.USAGE, ("generate",), "empty"),
    (ExitCode.USAGE, ("generate", " "), "empty"),
    (ExitCode.USAGE, ("generate", "hi", "-f", "/no/such/file"), "/no/such/file"),
    (ExitCode.USAGE, ("generate", "hi", "--template", "nope"), "nope"),
    (ExitCode.USAGE, ("generate", "hi", "-p", "a=b"), "'a'"),
    (ExitCode.USAGE, ("generate", "hi", "--engine", "nope"), "nope"),
    (ExitCode.USAGE, ("generate", "hi", "-ngl", "many"), "many"),
    (ExitCode.USAGE, ("generate", "hi", "--top-p", "2"), "--top-p"),
    (ExitCode.USAGE, ("json-extract", "hi", "--fields", "a b c"), "a b c"),
    (ExitCode.USAGE, ("json-extract", "hi", "--schema", '{"type": "nope"}'), "nope"),
    (ExitCode.USAGE, ("generate", "hi", "--raw", "--system", "be kind"), "--raw"),
    (ExitCode.USAGE, ("generate", "hi", "--temperature", "nan"), "--temperature"),
    (ExitCode.USAGE, ("generate", "hi", "--temperature", "1e999"), "'1e999' is not a number from"),
    (ExitCode.USAGE, ("generate", "hi", "--stop", ""), "'--stop': the value is empty"),
    (ExitCode.USAGE, ("models", "show", ""), "'[MODEL]': the value is empty"),
    (ExitCode.USAGE, ("generate", "hi", "-p", "=x"), "-p '=x' has no name"),
    (ExitCode.USAGE, ("generate", "-5 degrees"), "no such option: -5"),
    (ExitCode.USAGE, ("generate", "-5 degrees"), "Write -- before a text"),
    (ExitCode.USAGE, ("generate", "hi", "-n"), "Write its value after -n."),
    (ExitCode.USAGE, ("generate", "hi", "-t", "100000"), "--threads"),
    (ExitCode.USAGE, ("translate", "hi", "--to", ""), "--to"),
    (ExitCode.USAGE, ("json-extract", "hi", "--fields", " "), "field list is empty"),
    (ExitCode.USAGE, ("json-extract", "hi", "--schema", ""), "schema"),
    (ExitCode.USAGE, ("json-extract", "hi", "--jsonl", "--json"), "--jsonl"),
    (
        ExitCode.USAGE,
        ("json-extract", "hi", "--grounded", "--schema", '{"type": "string", "enum": [1]}'),
        "the schema admits nothing",
    ),
    (
        ExitCode.OUTPUT_INVALID,
        ("json-extract", "hi", "--grounded", "--schema", '{"type": "integer"}'),
        "the text contains no number",
    ),
    (ExitCode.MODEL_NOT_AVAILABLE, ("generate", "hi", "-m", "no-such-model"), "no-such-model"),
    (ExitCode.MODEL_NOT_AVAILABLE, ("generate", "hi", "-m", "./no.gguf"), "no.gguf"),
    (ExitCode.MODEL_UNUSABLE, ("generate", "hi", "-m", __file__), "GGUF"),
    (ExitCode.CONTEXT_EXCEEDED, ("generate", "hi " * 900), "fit into the context"),
    (ExitCode.GPU_REQUIRED, ("generate", "hi", "--require-gpu", "--engine", "fake"), "GPU"),
    (ExitCode.USAGE, ("generate", "hi", "--require-gpu", "-ngl", "0"), "contradicts"),
]


@pytest.mark.parametrize(("code", "arguments", "said"), FAILURES)
def test_failures_have_their_exit_code_a_reason_and_a_clean_stdout(
    run: Run, mistral: Path, code: ExitCode, arguments: tuple[str, ...], said: str
) -> None:
    result = run(*arguments, MISTRAL_CLI_MODEL=str(mistral), TERM="dumb")
    assert result.status == code, result.stderr
    assert said in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("mistral-cli: error: ")
    assert len(result.stderr.splitlines()) >= 2  # the next step


def test_a_failing_engine(run: Run, fake: Callable[..., dict[str, str]]) -> None:
    result = run("generate", "hi", **fake(error="it broke"))
    assert (result.status, result.stdout) == (ExitCode.ENGINE_FAILED, "")
    assert "it broke" in result.stderr


def test_json_cut_at_the_limit_is_an_error(run: Run, smollm2: Path) -> None:
    result = run("json-extract", "--fields", "name, company", ARTICLE, "-m", smollm2, "-n", 5)
    assert (result.status, result.stdout) == (ExitCode.OUTPUT_CUT, "")
    assert '{"name"' in result.stderr


def test_json_that_was_cut_is_shown_even_with_quiet(
    run: Run, fake: Callable[..., dict[str, str]]
) -> None:
    script = fake(pieces=['{"a"', ": 1", "}"])
    result = run("json-extract", "--fields", "a int", "x 1", "-n", 2, "-q", **script)
    assert (result.status, result.stdout) == (ExitCode.OUTPUT_CUT, "")
    assert '{"a": 1' in result.stderr


def test_rules_that_no_grammar_can_enforce_are_validated(run: Run, smollm2: Path) -> None:
    schema = {"items": {"enum": [1, 2]}, "minItems": 2, "maxItems": 2, "uniqueItems": True}
    schema = json.dumps({"type": "array", **schema})
    arguments = ("json-extract", "-m", smollm2, "--schema", schema, "-v")
    unique, twice = run(*arguments, "Write 2 and 2"), run(*arguments, "1 1")
    assert sorted(json.loads(unique.stdout)) == [1, 2]
    assert "checked after generation, not while sampling: uniqueItems" in unique.stderr
    assert (twice.status, twice.stdout) == (ExitCode.OUTPUT_INVALID, "")
    assert "non-unique" in twice.stderr
    assert "[1, 1]" in twice.stderr


PEOPLE = "Bob is 34, Alice is 28 and Zoë is 5 years old."


@pytest.mark.parametrize("engine", ["llama.cpp", "ctransformers"])
def test_lists_with_both_engines(
    run: Run, engine: str, smollm2: Path, smollm2_for_ctransformers: Path
) -> None:
    model = smollm2 if engine == "llama.cpp" else smollm2_for_ctransformers
    arguments = ("json-extract", "-m", model, "--engine", engine, "--fields", "name, age int")
    people = json.loads(run(*arguments, "--many", PEOPLE).stdout)
    assert {"name": "Bob", "age": 34} in people
    lines = run(*arguments, "--jsonl", PEOPLE).stdout.splitlines()
    assert [json.loads(line) for line in lines] == people
    for person in people:
        assert person["name"] in PEOPLE
        assert str(person["age"]) in PEOPLE


def test_items_are_lines_and_a_cut_list_is_reported(
    run: Run, fake: Callable[..., dict[str, str]]
) -> None:
    script = fake(pieces=['[{"a": 1}, {"a":', " 2}, {", '"a": 3}]'])
    whole = run("json-extract", "--fields", "a int", "--jsonl", "1 2 3", **script)
    assert (whole.status, whole.stdout) == (0, '{"a": 1}\n{"a": 2}\n{"a": 3}\n')
    cut = run("json-extract", "--fields", "a int", "--jsonl", "1 2 3", "-n", 2, **script)
    assert (cut.status, cut.stdout) == (ExitCode.OUTPUT_CUT, '{"a": 1}\n{"a": 2}\n')
    assert "items already printed: 2" in cut.stderr


def test_grounded_is_the_default_for_fields_only(
    run: Run, fake: Callable[..., dict[str, str]]
) -> None:
    script = fake(pieces=['{"a": "elsewhere"}'])
    schema = '{"type": "object", "properties": {"a": {"type": "string"}}}'
    assert run("json-extract", "--fields", "a", "here", **script).status == 7
    assert run("json-extract", "--fields", "a", "--no-grounded", "here", **script).status == 0
    assert run("json-extract", "--schema", schema, "here", **script).status == 0
    assert run("json-extract", "--schema", schema, "--grounded", "here", **script).status == 7
    assert run("json-extract", "here", **script).status == 0
    assert run("json-extract", "--grounded", "here", **script).status == 7


@pytest.mark.parametrize("answer", ['{"age": 5.5}', "hello", '{"age": 5} and', '{"age": NaN}'])
def test_json_that_does_not_match_is_an_error(
    run: Run, fake: Callable[..., dict[str, str]], answer: str
) -> None:
    result = run("json-extract", "--fields", "age int", "x", **fake(pieces=[answer]))
    assert (result.status, result.stdout) == (ExitCode.OUTPUT_INVALID, "")


def test_json_is_one_line_in_a_pipe(run: Run, fake: Callable[..., dict[str, str]]) -> None:
    script = fake(pieces=['{"name": "Zoë",', ' "age": 5}'])
    result = run("json-extract", "--fields", "name, age int", "Zoë is 5", **script)
    assert result.stdout == '{"name": "Zoë", "age": 5}\n'


def test_quiet_prints_only_errors(run: Run, fake: Callable[..., dict[str, str]]) -> None:
    result = run("generate", "hi", "-n", 1, "-q", **fake(pieces=["a", "b"]))
    assert (result.stdout, result.stderr) == ("a\n", "")


def test_verbose_names_the_engine_and_the_reason(
    run: Run, fake: Callable[..., dict[str, str]]
) -> None:
    assert "engine fake: named by --engine" in run("generate", "hi", "-v", **fake()).stderr


def test_a_full_disk_is_an_error(fake: Callable[..., dict[str, str]]) -> None:
    with Path("/dev/full").open("wb") as full:
        process = subprocess.run(
            [sys.executable, "-m", "mistral_cli", "generate", "hi"],
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            env={**os.environ, **fake()},
            timeout=60,
            check=False,
        )
    assert process.returncode == ExitCode.FAILURE
    assert b"No space left" in process.stderr
    assert b"Traceback" not in process.stderr


def test_a_closed_pipe_ends_quietly(
    started: Callable[..., subprocess.Popen[bytes]], fake: Callable[..., dict[str, str]]
) -> None:
    process = started("generate", "hi", **fake(pieces=["line\n"] * 50, delay=0.02))
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=20) == 0


def test_ctrl_c_while_streaming(
    started: Callable[..., subprocess.Popen[bytes]], fake: Callable[..., dict[str, str]]
) -> None:
    process = started("generate", "hi", **fake(pieces=["word "] * 500, delay=0.05))
    assert process.stdout is not None
    assert process.stdout.read(4) == b"word"
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == ExitCode.INTERRUPTED
    assert re.fullmatch(rb"( word)*\n", stdout)
    assert stderr == b""


def test_ctrl_c_while_a_real_engine_reads_a_long_prompt(
    started: Callable[..., subprocess.Popen[bytes]], smollm2: Path, tmp_path: Path
) -> None:
    text = tmp_path / "long.txt"
    text.write_text("The quick brown fox jumps over the lazy dog. " * 700, encoding="utf-8")
    process = started("summarize", "-f", text, "-m", smollm2)
    time.sleep(4)
    assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    interrupted = time.monotonic()
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode in (ExitCode.INTERRUPTED, -signal.SIGINT), stderr
    assert stdout == b""
    assert b"Traceback" not in stderr
    assert time.monotonic() - interrupted < 20  # far below the minute that the prompt takes


@pytest.mark.parametrize("redirection", ["<&-", "2>&-", ">/dev/null <&- 2>&-"])
def test_closed_streams(redirection: str, fake: Callable[..., dict[str, str]]) -> None:
    command = f'"{sys.executable}" -m mistral_cli generate hi {redirection}'
    process = subprocess.run(
        ["sh", "-c", command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, **fake(pieces=["ok"])},
        timeout=60,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout == (b"" if ">/dev/null" in redirection else b"ok\n")


def test_an_empty_environment_and_an_ascii_locale(mistral: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text('{"pieces": ["日本"]}', encoding="utf-8")
    for locale in ({}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}):
        process = subprocess.run(
            [sys.executable, "-m", "mistral_cli", "generate", "hi", "--engine", "fake"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={
                "MISTRAL_CLI_FAKE": str(script),
                "MISTRAL_CLI_MODEL": str(mistral),
                "HOME": str(tmp_path),
                **locale,
            },
            cwd=Path(__file__).parents[2],
            timeout=60,
            check=False,
        )
        assert process.stdout.decode() == "日本\n", process.stderr


def test_help_names_every_exit_code(run: Run) -> None:
    shown = run("--help").stdout
    assert all(f"{code.value}  {code.meaning[:30]}" in shown for code in ExitCode)


def test_version(run: Run) -> None:
    import mistral_cli

    assert run("--version").stdout == f"mistral-cli {mistral_cli.__version__}\n"
