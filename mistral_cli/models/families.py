"""The dimensions of the built-in models: one network of each family, and its other sizes.

The numbers come from the models' `config.json`, those of `more` under their names in a GGUF.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mistral_cli.models.dimensions import Dimensions

_MISTRAL_7B = Dimensions(
    parameters=7_241_732_096,
    layers=32,
    embedding=4096,
    feed_forward=14336,
    heads=32,
    kv_heads=8,
    vocabulary=32000,
    context_length=32768,
)
_QWEN3_4B = Dimensions(
    architecture="qwen3",
    parameters=4_022_468_096,
    layers=36,
    embedding=2560,
    feed_forward=9728,
    heads=32,
    kv_heads=8,
    head_size=128,
    vocabulary=151936,
    merges=151387,
    context_length=40960,
    has_output_weight=False,
)
_QWEN35_4B = Dimensions(
    architecture="qwen35",
    parameters=4_205_751_296,
    layers=32,
    embedding=2560,
    feed_forward=9216,
    heads=16,
    kv_heads=4,
    head_size=256,
    vocabulary=248320,
    merges=247587,
    context_length=262144,
    has_output_weight=False,
    more={
        "full_attention_interval": 4,
        "ssm.conv_kernel": 4,
        "ssm.state_size": 128,
        "ssm.group_count": 16,
        "ssm.inner_size": 4096,
    },
)
_LLAMA32_3B = Dimensions(
    parameters=3_212_749_888,
    layers=28,
    embedding=3072,
    feed_forward=8192,
    heads=24,
    kv_heads=8,
    vocabulary=128256,
    merges=280147,
    context_length=131072,
    has_output_weight=False,
)
_MINISTRAL3_8B = Dimensions(
    architecture="mistral3",
    parameters=8_490_000_000,
    layers=34,
    embedding=4096,
    feed_forward=14336,
    heads=32,
    kv_heads=8,
    head_size=128,
    vocabulary=131072,
    merges=269443,
    context_length=262144,
)
_GEMMA3_4B = Dimensions(
    architecture="gemma3",
    parameters=3_880_263_168,
    layers=34,
    embedding=2560,
    feed_forward=10240,
    heads=8,
    kv_heads=4,
    head_size=256,
    vocabulary=262144,
    context_length=131072,
    has_output_weight=False,
    more={"attention.sliding_window": 1024},
)


def _gemma4_cache(
    every: int, layers: int, window: int, shared: int = 0
) -> dict[str, int | list[int]]:
    """The cache of a Gemma 4: every n-th layer sees the whole context, with wider heads."""
    return {
        "attention.sliding_window": window,
        "attention.sliding_window_pattern": [int((n + 1) % every > 0) for n in range(layers)],
        "attention.shared_kv_layers": shared,
        "attention.key_length_swa": 256,
        "attention.value_length_swa": 256,
    }


_GEMMA4_E4B = replace(
    _GEMMA3_4B,
    architecture="gemma4",
    parameters=7_518_000_000,
    layers=42,
    kv_heads=2,
    head_size=512,
    merges=514906,
    per_layer_embedding=256,
    more=_gemma4_cache(6, 42, 512, shared=18),
)

_SMOLLM2_135M = Dimensions(
    parameters=134_515_008,
    layers=30,
    embedding=576,
    feed_forward=1536,
    heads=9,
    kv_heads=3,
    vocabulary=49152,
    merges=48900,
    context_length=8192,
    has_output_weight=False,
)

_SMOLLM3_3B = Dimensions(
    architecture="smollm3",
    parameters=3_075_098_624,
    layers=36,
    embedding=2048,
    feed_forward=11008,
    heads=16,
    kv_heads=4,
    vocabulary=128256,
    merges=280147,
    context_length=65536,
    has_output_weight=False,
)

_GPT_OSS_20B = Dimensions(
    architecture="gpt-oss",
    parameters=20_914_757_184,
    layers=24,
    embedding=2880,
    feed_forward=2880,
    heads=64,
    kv_heads=8,
    head_size=64,
    vocabulary=201088,
    merges=446189,
    experts=32,
    experts_used=4,
    expert_feed_forward=2880,
    context_length=131072,
    more={"attention.sliding_window": 128},
)

DIMENSIONS: Mapping[str, Dimensions] = {
    "mistral": _MISTRAL_7B,
    "mistral-7b-v0.2": _MISTRAL_7B,
    "mistral-7b-v0.3": _MISTRAL_7B.sized(7_248_023_552, 32, 4096, 14336, vocabulary=32768),
    "smollm2": _SMOLLM2_135M,
    "llama3.2-1b": _LLAMA32_3B.sized(1_235_814_400, 16, 2048, 8192, heads=32),
    "llama3.2-3b": _LLAMA32_3B,
    "phi4-mini": _LLAMA32_3B.sized(
        3_836_021_760, 32, 3072, 8192, architecture="phi3", vocabulary=200064, merges=199742
    ),
    "gemma3-1b": _GEMMA3_4B.sized(
        999_885_952,
        26,
        1152,
        6912,
        heads=4,
        kv_heads=1,
        context_length=32768,
        more={"attention.sliding_window": 512},
    ),
    "gemma3-4b": _GEMMA3_4B,
    "qwen3-0.6b": _QWEN3_4B.sized(596_049_920, 28, 1024, 3072, heads=16),
    "qwen3-1.7b": _QWEN3_4B.sized(1_720_574_976, 28, 2048, 6144, heads=16),
    "qwen3-4b": _QWEN3_4B,
    "qwen3-8b": _QWEN3_4B.sized(8_190_735_360, 36, 4096, 12288, has_output_weight=True),
    "qwen3-14b": _QWEN3_4B.sized(14_768_307_200, 40, 5120, 17408, heads=40, has_output_weight=True),
    "mistral-small-3.2": _MINISTRAL3_8B.sized(
        23_572_403_200, 40, 5120, 32768, architecture="llama", context_length=131072
    ),
    "smollm3-3b": _SMOLLM3_3B,
    "qwen3-30b-a3b-2507": _QWEN3_4B.sized(
        30_532_122_624,
        48,
        2048,
        6144,
        architecture="qwen3moe",
        kv_heads=4,
        experts=128,
        experts_used=8,
        expert_feed_forward=768,
        context_length=262144,
        has_output_weight=True,
    ),
    "qwen3-4b-2507": _QWEN3_4B.sized(4_022_468_096, 36, 2560, 9728, context_length=262144),
    "gpt-oss-20b": _GPT_OSS_20B,
    "ministral3-3b": _MINISTRAL3_8B.sized(3_429_000_000, 26, 3072, 9216, has_output_weight=False),
    "ministral3-8b": _MINISTRAL3_8B,
    "ministral3-14b": _MINISTRAL3_8B.sized(13_505_000_000, 40, 5120, 16384),
    "qwen3.5-2b": _QWEN35_4B.sized(
        1_882_000_000,
        24,
        2048,
        6144,
        heads=8,
        kv_heads=2,
        more={**_QWEN35_4B.more, "ssm.inner_size": 2048},
    ),
    "qwen3.5-4b": _QWEN35_4B,
    "qwen3.5-9b": _QWEN35_4B.sized(8_954_000_000, 32, 4096, 12288, has_output_weight=True),
    "gemma4-e2b": _GEMMA4_E4B.sized(
        4_647_000_000,
        35,
        1536,
        [6144] * 15 + [12288] * 20,
        kv_heads=1,
        more=_gemma4_cache(5, 35, 512, shared=20),
    ),
    "gemma4-e4b": _GEMMA4_E4B,
    "gemma4-12b": _GEMMA4_E4B.sized(
        11_907_000_000,
        48,
        3840,
        15360,
        heads=16,
        kv_heads=[1 if (n + 1) % 6 == 0 else 8 for n in range(48)],
        context_length=262144,
        per_layer_embedding=0,
        more=_gemma4_cache(6, 48, 1024),
    ),
}
"""The dimensions of each built-in model, by its alias."""
