"""The facts of model headers that `models list` keeps between calls."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.gguf_parts import GGUFParts

from mistral_cli.models import header_cache
from mistral_cli.models.header_cache import HeaderCache, HeaderFacts


@pytest.fixture
def model(mistral: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Path(shutil.copy(mistral, tmp_path / "model.gguf"))


def facts(path: Path) -> HeaderFacts:
    cache = HeaderCache()
    found = cache.facts(path)
    cache.save()
    return found


def no_parsing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header_cache, "_header", lambda path: pytest.fail(f"{path} was read"))


def test_a_header_is_read_once_until_the_file_changes(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = facts(model)
    assert (found.kind, found.quantization) == (None, "F32")
    parts = GGUFParts(model)
    with monkeypatch.context() as patch:
        no_parsing(patch)
        assert facts(model) == found
    parts.tensors.clear()
    model.write_bytes(parts.build())
    assert facts(model) == HeaderFacts("a vocabulary that has no weights")
    model.write_bytes(b"not a model")
    assert facts(model) == HeaderFacts()
    no_parsing(monkeypatch)
    assert facts(model) == HeaderFacts()


def test_a_store_that_is_damaged_or_of_another_version_is_not_used(
    model: Path, tmp_path: Path
) -> None:
    found = facts(model)
    (store,) = (tmp_path / "cache").rglob("headers.json")
    written = json.loads(store.read_text())
    (key,) = written["files"]
    version, *_ = written["files"][key]
    for stored in (
        {**written, "version": "0"},
        {**written, "files": {key: [version, "wrong"]}},
        {**written, "files": {key: [version, 1, 2]}},
        {**written, "files": []},
        [],
    ):
        store.write_text(json.dumps(stored))
        assert facts(model) == found
        assert json.loads(store.read_text()) == written
    store.write_text("{")
    assert facts(model) == found


def test_files_that_are_gone_leave_the_store(model: Path, tmp_path: Path) -> None:
    other = Path(shutil.copy(model, tmp_path / "other.gguf"))
    cache = HeaderCache()
    cache.facts(model)
    cache.facts(other)
    cache.save()
    other.unlink()
    facts(model)
    (store,) = (tmp_path / "cache").rglob("headers.json")
    assert list(json.loads(store.read_text())["files"]) == [str(model)]


def test_a_folder_that_cannot_be_written_is_no_problem(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert facts(model).quantization == "F32"


def test_a_list_imports_no_network_code_of_the_hub(tmp_path: Path) -> None:
    """Its import takes longer than everything else that `models list` does."""
    code = (
        "import sys\n"
        "from mistral_cli.models.store import list_models\n"
        "from mistral_cli.system.config import Config\n"
        "assert list_models(Config())\n"
        "print(sorted({'huggingface_hub.file_download', 'httpx', 'httpx2'} & {*sys.modules}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
