"""`config.toml`, its environment variables, and the folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from mistral_cli.errors import UsageError
from mistral_cli.system import config
from mistral_cli.system.config import Config


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration file of a user whose folders are in `tmp_path`; not there yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = config.config_dir()
    folder.mkdir(parents=True)
    return folder / "config.toml"


def test_folders_honour_xdg(file: Path, tmp_path: Path) -> None:
    assert config.config_dir() == tmp_path / "config" / "mistral-cli"
    assert config.cache_dir() == tmp_path / "cache" / "mistral-cli"
    assert config.prompts_dir() == tmp_path / "config" / "mistral-cli" / "prompts"


def test_defaults_without_a_file(file: Path) -> None:
    assert config.load_config({}) == Config(model="mistral", engine="auto", aliases={})


def test_environment_before_file_before_default(file: Path) -> None:
    file.write_text('model = "from-file"\n[aliases]\nwork = "./w.gguf"\n')
    assert config.load_config({}) == Config("from-file", "auto", {"work": "./w.gguf"})
    env = {"MISTRAL_CLI_MODEL": "from-env", "MISTRAL_CLI_ENGINE": "ctransformers"}
    assert config.load_config(env) == Config("from-env", "ctransformers", {"work": "./w.gguf"})
    assert config.load_config({"MISTRAL_CLI_MODEL": ""}).model == "from-file"
    assert config.load_config({"MISTRAL_CLI_ON_LIMIT": "close"}).on_limit == "close"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("modle = 'x'", "unknown key 'modle'", "aliases, encoding, engine, facts, model, on_limit"),
        ("model = 3", "'model' must be a non-empty string, not 3", 'model = "mistral"'),
        ("engine = ''", "'engine' must be a non-empty string", 'engine = "auto"'),
        ("aliases = 'x'", "'aliases' must be a table", "[aliases]"),
        ("[aliases]\na = 1", "'aliases.a' must be a model reference, not 1", "a = "),
        ("[aliases.a]\nb = 'c'", "'aliases.a' must be a model reference", "a = "),
        ("model = ", "not valid TOML", "Correct the file"),
    ],
)
def test_mistakes_name_file_and_key(file: Path, text: str, message: str, hint: str) -> None:
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        config.load_config({"MISTRAL_CLI_MODEL": "from-env"})
    assert str(file) in caught.value.message
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("300", 300), ("1.5 GB", 1_500_000_000), ("200mb", 200_000_000), ("4g", 4 * 10**9)],
)
def test_sizes_of_the_prompt_cache(text: str, size: int) -> None:
    assert config.load_config({"MISTRAL_CLI_PROMPT_CACHE": text}).prompt_cache_bytes == size


@pytest.mark.parametrize("text", ["much", "-1 GB", "4 GB or so", "GB", "1e9"])
def test_invalid_sizes_of_the_prompt_cache(text: str) -> None:
    with pytest.raises(UsageError, match="not a valid size for the prompt cache") as caught:
        _ = Config(prompt_cache=text).prompt_cache_bytes
    assert '"4 GB"' in caught.value.hint


def test_a_file_that_cannot_be_read(file: Path) -> None:
    file.write_bytes(b'model = "\xff"')
    with pytest.raises(UsageError, match="is not utf-8: line 1"):
        config.load_config({})
    file.unlink()
    file.mkdir()
    with pytest.raises(UsageError, match="cannot read"):
        config.load_config({})
