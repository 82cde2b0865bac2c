"""The chat templates and the vocabularies of real models, from llama.cpp's own tests.

Beside most vocabularies are texts (`.inp`) and their token ids from Hugging Face's tokenizers
(`.out`). They are in the source distribution of llama-cpp-python, which pip downloads once into
the cache, with the two files of llama.cpp that list what it knows by name.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest
from filelock import FileLock

from mistral_cli.system.config import cache_dir

_RELEASE = "llama-cpp-python==0.3.36"
_LLAMA_CPP = "vendor/llama.cpp/"
_ENDINGS = (".jinja", ".gguf", ".inp", ".out")
_SOURCES = ("src/llama-arch.cpp", "src/llama-vocab.cpp")


def _download(destination: Path) -> None:
    with tempfile.TemporaryDirectory(dir=destination.parent) as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--quiet"]
        command += ["--no-binary=:all:", "--dest", folder, _RELEASE]
        subprocess.run(command, check=True, env={**os.environ, "TMPDIR": folder})
        [archive] = Path(folder).glob("*.tar.gz")
        models = Path(folder, "models")
        with tarfile.open(archive) as tar:
            for member in tar:
                _, found, name = member.name.partition(_LLAMA_CPP)
                if found and member.isfile() and _is_wanted(name):
                    target = models / name.removeprefix("models/")
                    target.parent.mkdir(parents=True, exist_ok=True)
                    content = tar.extractfile(member)
                    assert content
                    target.write_bytes(content.read())
        models.replace(destination)


def _is_wanted(name: str) -> bool:
    return name in _SOURCES or (name.startswith("models/") and name.endswith(_ENDINGS))


@pytest.fixture(scope="session")
def real_files() -> Path:
    """The folder with `templates/NAME.jinja`, `ggml-vocab-NAME.gguf` and `src/NAME.cpp`."""
    folder = cache_dir() / "tests" / f"{_RELEASE}-with-sources"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):  # the tests may run in several processes
        if not folder.exists():
            _download(folder)
    return folder


@pytest.fixture(scope="session")
def real_templates(real_files: Path) -> dict[str, str]:
    """The source of each template, by the name of its model."""
    files = sorted((real_files / "templates").glob("*.jinja"))
    return {file.stem: file.read_text(encoding="utf-8") for file in files}
