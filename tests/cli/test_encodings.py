"""Inputs that are not UTF-8: what the model gets to read, and where the guess is reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.batch_program import lines_of
from support.program import Run

TEXT = "Die Straße in Köln ist heute für Fußgänger gesperrt."
NOTE = "is not UTF-8: read as cp1252, a guess; name it with --encoding"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, text: str, encoding: str = "cp1252") -> str:
    Path(name).write_bytes(text.encode(encoding))
    return name


def dry_run(run: Run, *arguments: object, **more: object) -> tuple[str, list[str], str]:
    """The prompt, the warnings in the JSON, and stderr."""
    result = run(*arguments, "--dry-run", "--json", **more)
    assert result.status == 0, result.stderr
    output = json.loads(result.stdout)
    return output["prompt"], output["warnings"], result.stderr


def test_a_guess_is_in_the_warnings_even_if_quiet(run: Run, mistral: Path) -> None:
    call = ("generate", "-f", write("a.txt", TEXT), "-m", mistral)
    prompt, warnings, stderr = dry_run(run, *call)
    assert TEXT in prompt
    assert warnings == [f"a.txt {NOTE}"]
    assert f"warning: a.txt {NOTE}" in stderr
    prompt, warnings, stderr = dry_run(run, *call, "-q")
    assert (TEXT in prompt, warnings, stderr) == (True, [f"a.txt {NOTE}"], "")
    prompt, warnings, _ = dry_run(run, "generate", "-m", mistral, stdin=TEXT.encode("cp1252"))
    assert (TEXT in prompt, warnings) == (True, [f"stdin {NOTE}"])


@pytest.mark.parametrize("named", ["auto", "cp1252"])
def test_options_that_are_texts_are_decoded_too(run: Run, mistral: Path, named: str) -> None:
    text = "Straße für Fußgänger, schön".encode("cp1252").decode("utf-8", "surrogateescape")
    more = ("-m", mistral, "--encoding", named)
    for arguments in (
        ("generate", "hi", "-s", text),
        ("translate", "hi", "--to", text),
        ("generate", text),
    ):
        prompt, warnings, _ = dry_run(run, *arguments, *more)
        assert "Straße für Fußgänger, schön" in prompt
        assert len(warnings) == (named == "auto")
    write("a.txt", "hi")
    result = run("batch", "generate", "a.txt", "--prompt", text, *more, "-n", 1)
    assert ("--prompt is not UTF-8" in result.stderr) == (named == "auto")


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16-be", "koi8-r", "gb18030"])
def test_a_named_encoding_is_no_guess(run: Run, mistral: Path, encoding: str) -> None:
    text = {"koi8-r": "Привет, мир", "gb18030": "你好"}.get(encoding, TEXT)
    call = ("generate", "-f", write("a.txt", text, encoding), "-m", mistral)
    prompt, warnings, stderr = dry_run(run, *call, "--encoding", encoding)
    assert (text in prompt, warnings, stderr) == (True, [], "")
    prompt, warnings, _ = dry_run(run, *call, MISTRAL_CLI_ENCODING=encoding)
    assert (text in prompt, warnings) == (True, [])


def test_a_wrong_name_is_a_usage_error_that_lists_names(run: Run, mistral: Path) -> None:
    for arguments in (["generate", "hi"], ["batch", "generate", "a.txt"], ["finetune", "a.csv"]):
        result = run(*arguments, "-m", mistral, "--encoding", "utf9")
        assert result.status == 2
        assert "there is no encoding 'utf9'\n  Write auto, or a name such as utf-8" in result.stderr


def test_schemas_glossaries_and_templates_have_encodings_too(run: Run, mistral: Path) -> None:
    schema = json.dumps({"type": "object", "properties": {"straße": {"type": "string"}}})
    glossary, template = "Straße;rue\n", "Über: {{ text }}"
    for encoding in ("utf-8-sig", "utf-16", "cp1252"):
        write("s.json", schema.replace("\\u00df", "ß"), encoding)
        write("g.csv", glossary.replace(";", ","), encoding)
        write("t.txt", template, encoding)
        for named in ("auto", "cp1252"):
            more = ("-m", mistral, "--encoding", named)
            for arguments, part in (
                (("json-extract", "hi", "--schema", "s.json"), "straße"),
                (("translate", "Die Straße", "--glossary", "g.csv"), "Straße = rue"),
                (("generate", "hi", "--template", "t.txt"), "Über: hi"),
            ):
                prompt, warnings, _ = dry_run(run, *arguments, *more)
                assert part in prompt, (arguments, encoding, named)
                guessed = encoding == "cp1252" and named == "auto"
                assert len(warnings) == guessed, (arguments, encoding, named, warnings)


@pytest.mark.parametrize("mark", ["utf-8-sig", "utf-16", "utf-32"])
def test_the_configuration_may_have_a_byte_order_mark(
    run: Run, mistral: Path, folder: Path, mark: str
) -> None:
    config = folder / "config" / "mistral-cli" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_bytes('encoding = "koi8-r"\n'.encode(mark))
    env = {"XDG_CONFIG_HOME": str(folder / "config")}
    call = ("generate", "-f", write("a.txt", "Привет, мир", "koi8-r"), "-m", mistral)
    prompt, warnings, _ = dry_run(run, *call, **env)
    assert ("Привет, мир" in prompt, warnings) == (True, [])
    assert run("models", "alias", "mine", str(mistral), **env).status == 0
    assert str(mistral) in config.read_text("utf-8")


def test_the_rows_of_a_batch_on_an_engine_say_how_they_were_read(run: Run, mistral: Path) -> None:
    write("a.txt", TEXT)
    write("b.jsonl", json.dumps({"id": "b", "text": TEXT}, ensure_ascii=False))
    write("c.csv", f"id,text\nc,{TEXT}\nempty,\n")
    write("d.txt", TEXT, "utf-16")
    call = ("batch", "generate", "a.txt", "b.jsonl", "c.csv", "d.txt", "-m", mistral, "-n", 2, "-q")
    result = run(*call, "--ordered")
    assert result.status == 10
    rows = {line["id"]: line["warnings"] for line in lines_of(result.stdout)}
    guessed = {"a.txt": "a.txt", "b": "b.jsonl", "c": "c.csv", "empty": "c.csv"}
    for row_id, name in guessed.items():
        assert rows.pop(row_id)[0] == f"{name} {NOTE}"
    assert [warning for warning in rows["d.txt"] if "UTF-8" in warning] == []
    result = run(*call, "--encoding", "utf-8")
    errors = [line["error"] for line in lines_of(result.stdout) if line["error"]]
    assert len(errors) == 3
    assert "a.txt is not utf-8: line 1 has the byte 0xdf" in errors[0]["message"]
