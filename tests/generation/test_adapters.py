"""`--lora`: adapters on a model, through the engines and through the program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.adapter_files import write_adapter
from support.engine_io import GREEDY
from support.program import Run, needs_native
from synthetic.models import write_mistral

from mistral_cli.engines.protocol import LoadOptions, LoraAdapter
from mistral_cli.engines.registry import backend
from mistral_cli.engines.types import Request, TextDelta
from mistral_cli.errors import UsageError
from mistral_cli.generation.adapters import parse_adapter
from mistral_cli.models.gguf import read_gguf

PROMPT = tuple(range(300, 312))


@pytest.fixture(scope="session")
def adapter(mistral: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    # A comma, a colon and a quote could break a list on a command line.
    path = tmp_path_factory.mktemp("adapters") / 'mid"journey, v1:2.gguf'
    return write_adapter(path, mistral, size=1.0)


@pytest.fixture(scope="session")
def other(mistral: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("adapters") / "other.gguf"
    return write_adapter(path, mistral, ["ffn_up", "ffn_down"], size=1.0, seed=1)


def _answer(engine: str, model: Path, *adapters: LoraAdapter) -> str:
    options = LoadOptions(128, threads=1, adapters=adapters)
    with backend(engine).open(read_gguf(model), options) as opened:
        events = opened.stream(Request(PROMPT, 24, GREEDY))
        return "".join(event.text for event in events if isinstance(event, TextDelta))


@pytest.mark.parametrize("engine", ["llama.cpp", pytest.param("native", marks=needs_native)])
def test_scaled_adapters_change_the_answer(
    engine: str, mistral: Path, adapter: Path, other: Path, request: pytest.FixtureRequest
) -> None:
    if engine == "native":
        request.getfixturevalue("native")
    base = _answer(engine, mistral)
    assert _answer(engine, mistral, LoraAdapter(adapter, 0.0)) == base
    assert _answer(engine, mistral, LoraAdapter(adapter, 0.0), LoraAdapter(other, 0.0)) == base
    one, two = LoraAdapter(adapter, 1.0), LoraAdapter(other, 1.0)
    texts = {
        base,
        _answer(engine, mistral, one),
        _answer(engine, mistral, LoraAdapter(adapter, -0.5)),
        _answer(engine, mistral, two),
        _answer(engine, mistral, one, two),
    }
    assert len(texts) == 5
    assert _answer(engine, mistral, LoraAdapter(adapter, 0.0), two) == _answer(engine, mistral, two)


def test_an_existing_file_wins_over_a_scale(tmp_path: Path) -> None:
    plain, colon = tmp_path / "a.gguf", tmp_path / "a.gguf:2"
    assert parse_adapter(f"{plain}:0.5") == (plain, 0.5)
    assert parse_adapter(f"{plain}:-1e-1") == (plain, -0.1)
    assert parse_adapter(str(plain)) == (plain, 1.0)
    assert parse_adapter(f"{plain}:two") == (tmp_path / "a.gguf:two", 1.0)
    assert parse_adapter(str(colon)) == (plain, 2.0)
    colon.touch()
    assert parse_adapter(str(colon)) == (colon, 1.0)
    assert parse_adapter(f"{colon}:3") == (colon, 3.0)
    for scale in ("nan", "inf", "-inf"):
        with pytest.raises(UsageError, match=scale):
            parse_adapter(f"{plain}:{scale}")


def test_an_adapter_changes_the_answer_of_the_program(
    run: Run, mistral: Path, adapter: Path
) -> None:
    call = ["generate", "hi", "-m", mistral, "-n", "12", "--temperature", "0", "--json", "--raw"]
    base = json.loads(run(*call).stdout)
    none = json.loads(run(*call, "--lora", f"{adapter}:0").stdout)
    done = run(*call, "-v", "--lora", adapter)
    some = json.loads(done.stdout)
    assert none["text"] == base["text"] != some["text"]
    assert base["adapters"] == []
    assert some["adapters"] == [{"path": str(adapter), "scale": 1.0}]
    assert f"adapter {adapter}: 1 times, rank 4, alpha 8, for attn_q, attn_v" in done.stderr
    # A prompt state without the adapter is not restored with it, nor the reverse.
    assert json.loads(run(*call, "--lora", adapter).stdout)["text"] == some["text"]
    assert json.loads(run(*call).stdout)["text"] == base["text"]


def test_an_adapter_that_does_not_fit_is_refused(
    run: Run, mistral: Path, adapter: Path, tmp_path: Path
) -> None:
    def refused(path: Path | str, status: int = 4) -> str:
        done = run("generate", "hi", "-m", mistral, "--lora", path)
        assert (done.status, done.stdout) == (status, "")
        return str(done.stderr)

    small = write_mistral(tmp_path / "small.gguf", embedding=32)
    wrong = write_adapter(tmp_path / "wrong.gguf", small)
    assert f"{wrong} does not fit mistral-v1.gguf: it changes 'blk.0.attn_q" in refused(wrong)
    assert "is a model, not an adapter" in refused(mistral)
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(adapter.read_bytes()[:-100])
    assert "cut.gguf" in refused(cut)
    assert "missing.gguf: cannot be read" in refused(f"{tmp_path}/missing.gguf:0.5")
    assert "--lora cannot scale by nan" in refused(f"{adapter}:nan", status=2)


def test_an_adapter_for_another_architecture_is_refused(
    run: Run, mistral: Path, tmp_path: Path
) -> None:
    def change(writer: Any, tensors: Any) -> None:
        writer.kv_data[0].pop("general.architecture")
        writer.add_string("general.architecture", "qwen2")

    foreign = write_adapter(tmp_path / "a.gguf", mistral, change=change)
    done = run("generate", "hi", "-m", mistral, "--lora", foreign)
    assert done.status == 4
    assert "it is for the architecture qwen2, not llama" in done.stderr


def test_ctransformers_has_no_adapters(run: Run, mistral: Path, adapter: Path) -> None:
    done = run("generate", "hi", "-m", mistral, "--engine", "ctransformers", "--lora", adapter)
    assert done.status == 2
    assert "ctransformers cannot add LoRA adapters" in done.stderr
    assert "--engine llama.cpp" in done.stderr


def test_an_adapter_is_not_a_model(run: Run, adapter: Path) -> None:
    done = run("generate", "hi", "-m", adapter)
    assert done.status == 4
    assert "--lora" in done.stderr


def test_a_dry_run_opens_no_model(run: Run, mistral: Path, adapter: Path) -> None:
    call = ["generate", "hi", "-m", mistral, "--engine", "fake", "--dry-run", "--json"]
    fields = json.loads(run(*call, "--lora", f"{adapter}:0.5").stdout)
    assert fields["adapters"] == [{"path": str(adapter), "scale": 0.5}]


def test_batch_keys_depend_on_the_adapters(
    batch: Run, here: Path, adapter: Path, other: Path, tmp_path: Path
) -> None:
    (here / "rows.txt").write_text("one\ntwo\n")

    def keys(*adapters: object) -> list[str]:
        more = [part for each in adapters for part in ("--lora", each)]
        call = ("--input-format", "lines", "rows.txt", "--seed", 1, *more)
        done = batch("generate", *call)
        assert done.status == 0, done.stderr
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert [len(line["adapters"]) for line in lines] == [len(adapters)] * 2
        return sorted(line["key"] for line in lines)

    moved = tmp_path / "moved.gguf"
    moved.write_bytes(adapter.read_bytes())
    plain, once = keys(), keys(adapter)
    assert keys(moved) == once
    assert len({*plain, *once, *keys(f"{adapter}:0.5"), *keys(other), *keys(adapter, other)}) == 10


def test_models_show_describes_an_adapter(
    run: Run, mistral: Path, adapter: Path, tmp_path: Path
) -> None:
    call = ("models", "show", adapter)
    fields = json.loads(run(*call, "--json", MISTRAL_CLI_MODEL=str(mistral)).stdout)
    assert fields["kind"] == "LoRA adapter (for --lora)"
    assert (fields["architecture"], fields["rank"], fields["alpha"]) == ("llama", 4, 8.0)
    assert (fields["targets"], fields["size"]) == ("attn_q, attn_v", adapter.stat().st_size)
    assert (fields["default_model"], fields["fits_default_model"]) == (str(mistral), "yes")
    small = write_mistral(tmp_path / "small.gguf", embedding=32)
    shown = run(*call, MISTRAL_CLI_MODEL=str(small)).stdout
    assert "no: it changes 'blk.0.attn_q" in shown
    assert "unknown: mistral" in run(*call).stdout
    assert run(*call, "-q").stdout == f"{adapter}\n"
