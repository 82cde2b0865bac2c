"""The engine protocol, and how a model is opened.

An engine is opened on a checked GGUF file, tokenizes plain text, and streams the
continuation of a list of token ids. It knows nothing of prompts, chat formats, stop
strings or printing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from mistral_cli.engines.hardware.memory import Memory, needed

if TYPE_CHECKING:
    from mistral_cli.engines.hardware.gpu import Gpu
    from mistral_cli.engines.repacking import Repacking
    from mistral_cli.engines.speculative import SpeculativeConfig
    from mistral_cli.engines.types import Event, Request
    from mistral_cli.models.gguf import GGUF

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class LoraAdapter:
    """A LoRA adapter in GGUF that fits the model, added `scale` times.

    `digest` tells what is in the file from all else.
    """

    path: Path
    scale: float = 1.0
    digest: str = ""

    def __str__(self) -> str:
        return f"{self.path.name}:{self.scale:g}"

    @property
    def identity(self) -> tuple[str, float]:
        """All that an answer depends on."""
        return self.digest, self.scale


@dataclass(frozen=True)
class ListenAddress:
    """Where an engine that is a server listens for other processes, and the keys that it wants.

    A Unix socket, and with a `port` loopback TCP too, where the model is called `name`.
    """

    socket: Path
    api_keys: tuple[str, ...]
    port: int | None = None
    name: str = ""


@dataclass(frozen=True)
class LoadOptions:
    """How to open a model: context in tokens, CPU threads, layers to put on the GPU.

    `parallel` is how many streams will run at once; each has `context_length` to itself.
    With `repack` the weights may be rearranged: a slow load, then faster tokens.
    `states` is the folder for the states of prefixes. `adapters` are for an engine that
    `takes_adapters`, `guessing` is for one that `guesses`: it checks several tokens together.
    `listening` None keeps the engine to this process.
    """

    context_length: int
    threads: int
    gpu_layers: int = 0
    parallel: int = 1
    repack: bool = False
    states: Path | None = None
    adapters: tuple[LoraAdapter, ...] = ()
    guessing: SpeculativeConfig | None = None
    listening: ListenAddress | None = None


def for_native_code(text: str) -> bytes:
    """`text` in UTF-8 without what C code stumbles over: NUL and lone surrogates."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace")


class Session(ABC):
    """A model that is open, in this process or another.

    As many streams may run at once as it was opened for (`LoadOptions.parallel`), each in a
    thread of its own; closing one stops no other. Where one more begins, the oldest ends.
    """

    @property
    def gpu_layers(self) -> int:
        """The layers on the GPU: as the library reports, else as it was told."""
        return 0

    @property
    @abstractmethod
    def context_length(self) -> int:
        """Tokens of prompt and answer together that fit, for each stream."""

    @abstractmethod
    def tokenize(self, text: str) -> list[int]:
        """Token ids of `text` as plain text: no BOS, and control tokens are never parsed."""

    @abstractmethod
    def stream(self, request: Request) -> Generator[Event, None, None]:
        """Evaluate the prompt, then yield a Piece for each token and one Finish at the end.

        For a request that is `whole` there may be other pieces, of the same text.

        Closing the generator stops the work. Raises EngineFailed, also when the engine is
        closed.
        """

    @abstractmethod
    def close(self) -> None:
        """Free the model. Safe to call twice."""

    def abandon(self) -> None:
        """Like close, when the process ends at once and must not wait for native code."""
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is KeyboardInterrupt:
            self.abandon()
        else:
            self.close()


class Engine(Session):
    """One inference library. Subclasses translate its failures into our errors."""

    name: ClassVar[str]
    max_parallel: ClassVar[int | None] = None
    """The most streams that it can run at once, or None for any number."""
    repacking: ClassVar[Repacking | None] = None
    """What `LoadOptions.repack` costs; None where the engine does not know it."""
    takes_adapters: ClassVar[bool] = False
    """Whether it adds `LoadOptions.adapters`; native code trusts them."""
    listens: ClassVar[bool] = False
    """Whether it knows `LoadOptions.listening`, and so can be served to other processes."""
    guesses: ClassVar[bool] = False
    """Whether it knows `LoadOptions.guessing`."""
    gpu_failure_ends_process: ClassVar[bool] = False
    """Whether the library ends the process where GPU memory runs out during the load."""

    @classmethod
    def offered(cls) -> bool:
        """Whether `auto` and lists of engines name it at all."""
        return True

    @classmethod
    @abstractmethod
    def missing(cls) -> str | None:
        """Why the library cannot be used on this machine, or None if it can."""

    @classmethod
    @abstractmethod
    def unsupported(cls, model: GGUF) -> str | None:
        """Why this engine cannot run `model`, or None if it can."""

    @classmethod
    def unsupported_on_gpu(cls, model: GGUF) -> str | None:  # noqa: ARG003
        """Why a GPU cannot compute `model` in this engine, or None if it can."""
        return None

    @classmethod
    @abstractmethod
    def no_gpu(cls) -> str | None:
        """Why this engine cannot use a GPU here, or None if it can."""

    @classmethod
    def gpus(cls) -> tuple[Gpu, ...]:
        """The GPUs that this engine would use; none where `no_gpu` says why."""
        return ()

    @classmethod
    def loads_gpu_driver(cls) -> bool:
        """Whether `no_gpu` and `gpus` call a driver, which may hang or end the process."""
        return False

    @classmethod
    def state_format(cls) -> str | None:
        """The library and its build, whose saved states no other reads; None: it saves none."""
        return None

    @classmethod
    def memory(cls, model: GGUF, context_length: int, gpu_layers: int, parallel: int = 1) -> Memory:
        """The memory that `model` takes in this engine, for `parallel` texts at once."""
        return needed(model, context_length, gpu_layers, parallel)

    @abstractmethod
    def __init__(self, model: GGUF, options: LoadOptions) -> None:
        """Load `model`.

        Raises EngineFailed with the library's own reason, OutOfGpuMemory where fewer
        layers may help.
        """
