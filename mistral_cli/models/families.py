"""The networks of the built-in models, one of each family; its other sizes replace some numbers.

The numbers come from the models' `config.json`, those of `more` under their names in a GGUF.
"""

from __future__ import annotations

from dataclasses import replace

from mistral_cli.models.dimensions import Dimensions

MISTRAL_7B = Dimensions(
    parameters=7_241_732_096,
    layers=32,
    embedding=4096,
    feed_forward=14336,
    heads=32,
    kv_heads=8,
    vocabulary=32000,
    context_length=32768,
)
QWEN3_4B = Dimensions(
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
QWEN35_4B = Dimensions(
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
LLAMA32_3B = Dimensions(
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
MINISTRAL3_8B = Dimensions(
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
GEMMA3_4B = Dimensions(
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


def gemma4_cache(
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


GEMMA4_E4B = replace(
    GEMMA3_4B,
    architecture="gemma4",
    parameters=7_518_000_000,
    layers=42,
    kv_heads=2,
    head_size=512,
    merges=514906,
    per_layer_embedding=256,
    more=gemma4_cache(6, 42, 512, shared=18),
)

SMOLLM2_135M = Dimensions(
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

SMOLLM3_3B = Dimensions(
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

GPT_OSS_20B = Dimensions(
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
