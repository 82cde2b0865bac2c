"""The engine protocol: a backend (what is known before a model is open) opens sessions.

A backend stands for one inference library. It opens checked GGUF files. A session is one open
model: it tokenizes plain text and streams the continuation of a list of token ids. Neither
knows anything of prompts, chat templates, stop strings or printing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from mistral_cli.engines.hardware.memory import Memory, needed
from mistral_cli.errors import EngineFailed
from mistral_cli.models.gguf.known import newer_than_this_program

if TYPE_CHECKING:
    from mistral_cli.engines.hardware.cuda import Driver
    from mistral_cli.engines.hardware.gpu import Gpu
    from mistral_cli.engines.repacking import Repacking
    from mistral_cli.engines.types import Event, Request, ScoreRequest
    from mistral_cli.models.catalog import BuiltInModel
    from mistral_cli.models.gguf import GGUF


@dataclass(frozen=True)
class LoraAdapter:
    """A LoRA adapter in GGUF that fits the model, with the `scale` to apply it at.

    `digest` identifies the content of the file.
    """

    path: Path
    scale: float = 1.0
    digest: str = ""

    def __str__(self) -> str:
        return f"{self.path.name}:{self.scale:g}"

    @property
    def identity(self) -> tuple[str, float]:
        """Everything about the adapter that an answer depends on."""
        return self.digest, self.scale


@dataclass(frozen=True)
class ListenAddress:
    """The Unix socket where an engine that is a server listens, and the key that it requires."""

    socket: Path
    api_key: str


@dataclass(frozen=True)
class SpeculativeConfig:
    """Speculative decoding: the model checks several proposed tokens at once.

    The draft model in the file `draft` proposes them; with None they are copied from where the
    text has stood before (prompt lookup).
    """

    draft: Path | None = None


@dataclass(frozen=True)
class LoadOptions:
    """How to open a model: context in tokens, CPU threads, layers to put on the GPU.

    `parallel` is the number of concurrent streams; each has `context_length` to itself.
    `repack` lets the library rearrange the weights: a slow load, then faster tokens.
    `states` is the folder for prefix states. `adapters` require a backend that
    `takes_adapters`, and `speculative` one that is `speculative`: it checks several tokens at once.
    With `adapts_threads` the number of threads may change with the cores that are free.
    With `listening` None only this process can reach the engine. `log_file` is where the library
    logs during the load, for a process that outlives this one.
    """

    context_length: int
    threads: int
    gpu_layers: int = 0
    parallel: int = 1
    repack: bool = False
    states: Path | None = None
    adapters: tuple[LoraAdapter, ...] = ()
    speculative: SpeculativeConfig | None = None
    listening: ListenAddress | None = None
    log_file: Path | None = None
    adapts_threads: bool = False


def for_native_code(text: str) -> bytes:
    """`text` in UTF-8 without what breaks C code: NUL and lone surrogates."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace")


class Session(ABC):
    """An open model, in this process or another.

    It runs as many concurrent streams as it was opened for (`LoadOptions.parallel`), each in its
    own thread. Closing one stream does not stop the others. Starting one too many ends the oldest.
    """

    @property
    def gpu_layers(self) -> int:
        """The layers on the GPU, as the library reports them, or else as requested."""
        return 0

    @property
    @abstractmethod
    def context_length(self) -> int:
        """The tokens of prompt and answer together that fit in each stream."""

    @abstractmethod
    def tokenize(self, text: str) -> list[int]:
        """Token ids of `text` as plain text: no BOS, and never one of the model's `control_ids`."""

    @abstractmethod
    def stream(self, request: Request) -> Generator[Event, None, None]:
        """Prefill the prompt, then yield a TextDelta for each token and one Finish at the end.

        A request without `stream` may get fewer, larger deltas of the same text.

        Closing the generator stops the work. Raises EngineFailed, also when the session is
        closed.
        """

    def score(self, request: ScoreRequest) -> Generator[Event, None, None]:  # noqa: ARG002
        """Prefill the prompt, then yield one Scores at the end; nothing is generated.

        Otherwise as `stream`. An engine that reports no probabilities raises EngineFailed.
        """
        raise EngineFailed(
            "this engine does not report the probability of a text", hint="Use another --engine."
        )

    @abstractmethod
    def close(self) -> None:
        """Free the model. Safe to call twice."""

    def abandon(self) -> None:
        """Close without waiting for native code, because the process is about to end."""
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind and issubclass(kind, KeyboardInterrupt):
            self.abandon()
        else:
            self.close()


class TimedSession(Session):
    """A session whose requests may have a time limit, as the rows of a batch do."""

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether it can answer, as far as we know."""

    @property
    def pid(self) -> int | None:
        """The process that has loaded the weights; None if that is not on this machine."""
        return None

    @abstractmethod
    def stream(
        self, request: Request, timeout: float | None = None
    ) -> Generator[Event, None, None]:
        """As `Session.stream`. Raises TimedOut too, `timeout` seconds after it got a slot."""

    @abstractmethod
    def score(
        self, request: ScoreRequest, timeout: float | None = None
    ) -> Generator[Event, None, None]:
        """As `Session.score`, with the `timeout` of `stream`."""


@dataclass(frozen=True)
class GpuFix:
    """How an engine could use the driver's GPUs: by running a command, or with a newer driver."""

    command: str = ""
    driver_version: int = 0
    """The oldest version of NVIDIA's driver that would do, where a newer one is needed."""


class Backend(ABC):
    """What we know of an inference library before a model is open.

    `registry.backend` returns the only instance of each. Subclasses translate the library's
    failures into our errors.
    """

    name: ClassVar[str]
    """Its name in the registry, on the command line and in results."""
    package: ClassVar[str] = ""
    """The package that contains the library, on PyPI and to import; empty where none does."""
    max_parallel: int | None = None
    """The most concurrent streams, or None for any number."""
    repacking: ClassVar[Repacking | None] = None
    """The cost of `LoadOptions.repack`; None where the library cannot repack."""
    takes_adapters: ClassVar[bool] = False
    """Whether it applies `LoadOptions.adapters`; native code trusts those files."""
    listens: ClassVar[bool] = False
    """Whether it supports `LoadOptions.listening`, so that it can serve other processes."""
    speculative: ClassVar[bool] = False
    """Whether it supports `LoadOptions.speculative`."""
    dry: ClassVar[bool] = False
    """Whether its sampler has DRY; every engine has the other settings of `Sampling`."""
    knows_new_models: ClassVar[bool] = False
    """Whether it may know tensor types and architectures that are newer than this program."""
    remote: ClassVar[bool] = False
    """Whether servers compute, so that nothing is loaded on this machine."""
    gpu_failure_ends_process: ClassVar[bool] = False
    """Whether the library ends the process when GPU memory runs out during the load."""

    def offered(self) -> bool:
        """Whether `auto` and lists of engines include it at all."""
        return True

    @abstractmethod
    def missing(self) -> str | None:
        """Why the library cannot be used on this machine, or None if it can."""

    def install_hint(self, driver: Driver) -> str | None:  # noqa: ARG002
        """The command that makes a missing library usable beside `driver`, if there is one."""
        if self.package and package_version(self.package) is None:
            return f"pip install {self.package}"
        return None

    def note(self) -> str | None:
        """What users should know about a library that can be used, such as that it is old."""
        return None

    def unsupported(self, model: GGUF) -> str | None:  # noqa: ARG002
        """Why this engine cannot run `model`, or None if it can."""
        return None

    def doubt(self, model: GGUF) -> str | None:
        """Why only a load shows whether this engine can run `model`, or None if we know."""
        unknown = newer_than_this_program(model) if self.knows_new_models else None
        return f"this program does not know {unknown}; llama.cpp may" if unknown else None

    def unsupported_built_in(self, entry: BuiltInModel) -> str | None:  # noqa: ARG002
        """Why it cannot run a built-in model whose file is not here yet, or None if it can."""
        return None

    def unsupported_on_gpu(self, model: GGUF) -> str | None:  # noqa: ARG002
        """Why it cannot compute `model` on a GPU, or None if it can."""
        return None

    @abstractmethod
    def no_gpu(self) -> str | None:
        """Why this engine cannot use a GPU here, or None if it can."""

    def gpus(self) -> tuple[Gpu, ...]:
        """The GPUs that this engine would use; empty where `no_gpu` has a reason."""
        return ()

    def loads_gpu_driver(self) -> bool:
        """Whether `no_gpu` and `gpus` call a driver, which may hang or end the process."""
        return False

    def gpu_fix(self, driver: Driver) -> GpuFix | None:  # noqa: ARG002
        """How this engine could use the GPUs that NVIDIA's `driver` offers, if it can at all."""
        return None

    def other_gpu_fix(self, kind: str) -> str | None:  # noqa: ARG002
        """The command that lets it use a GPU without NVIDIA's driver: "rocm" or "vulkan"."""
        return None

    def state_format(self) -> str | None:
        """The library and its build, whose saved states no other can read; None: it saves none."""
        return None

    def memory(
        self, model: GGUF, context_length: int, gpu_layers: int, parallel: int = 1
    ) -> Memory:
        """The memory that `model` takes in this engine, for `parallel` streams at once."""
        return needed(model, context_length, gpu_layers, parallel)

    @abstractmethod
    def open(self, model: GGUF, options: LoadOptions) -> Session:
        """Load `model`.

        Raises EngineFailed with the library's own reason, and OutOfGpuMemory where fewer
        layers may help.
        """


def package_version(package: str) -> str | None:
    """The version of an installed package, or None."""
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
