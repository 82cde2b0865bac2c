"""`models.chat.reasoning`: the markers and switches of 70 real templates, and their prompts."""

from __future__ import annotations

import re
from typing import Any

import pytest
from support.chat_reference import compiled, model_of

from mistral_cli.models.chat import Message
from mistral_cli.models.chat.reasoning import Reasoning, ReasoningFormat, find_reasoning
from mistral_cli.models.chat.template import render_chat_template
from mistral_cli.models.gguf import GGUF

THINK, CHANNEL = "<think> </think>", "<|channel>thought <channel|>"
APRIEL = "Here are my reasoning steps: [BEGIN FINAL RESPONSE]"
DEEPSEEK = f"{THINK} open closed"

# What a family thinks between, and how its prompt ends with reasoning on and off. `always` is a
# model that its template cannot keep from thinking.
EXPECTED = {
    "Apertus-8B-Instruct": "<|inner_prefix|> <|inner_suffix|> undecided undecided",
    "Apriel-1.6-15b-Thinker-fixed": f"{APRIEL} open closed",
    "Bielik-11B-v3.0-Instruct": f"{THINK} open undecided",
    "ByteDance-Seed-OSS": "<seed:think> </seed:think> undecided closed",
    "Cohere2MoE": "<|START_THINKING|> <|END_THINKING|> open closed",
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use": (
        "<|START_THINKING|> <|END_THINKING|> undecided closed"
    ),
    "GLM-4.6": f"{THINK} undecided closed",
    "GLM-4.7-Flash": f"{THINK} open closed",
    "HuggingFaceTB-SmolLM3-3B": f"{THINK} undecided closed",
    "Kimi-K2-Thinking": f"{THINK} undecided undecided always",
    "Kimi-K3": "<|open|>think<|sep|> <|close|>think<|sep|> open closed",
    "LFM2.5-8B-A1B": f"{THINK} undecided undecided always",
    "LFM2.5-Instruct": f"{THINK} undecided undecided always",
    "MiniMax-M2": f"{THINK} open closed",
    "MiniMax-M3": "<mm:think> </mm:think> open closed",
    "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": f"{THINK} open closed",
    "NVIDIA-Nemotron-Nano-v2": f"{THINK} open closed",
    "Qwen-QwQ-32B": f"{THINK} open closed",
    "Qwen-Qwen3-0.6B": f"{THINK} undecided closed",
    "Qwen3.5-4B": f"{THINK} open closed",
    "Reka-Edge": f"{THINK} open undecided",
    "Spark2.5": f"{THINK} open closed",
    "StepFun3.5-Flash": f"{THINK} open closed",
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": DEEPSEEK,
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": DEEPSEEK,
    "deepseek-ai-DeepSeek-V3.1": DEEPSEEK,
    "deepseek-ai-DeepSeek-V3.2": DEEPSEEK,
    "deepseek-ai-DeepSeek-V4": DEEPSEEK,
    "deepseek-ai-DeepSeek-V4-Flash-0731": DEEPSEEK,
    "google-gemma-4-31B-it": f"{CHANNEL} undecided closed",
    "google-gemma-4-31B-it-interleaved": f"{CHANNEL} undecided closed",
    "ibm-granite-granite-3.3-2B-Instruct": f"{THINK} undecided undecided",
    "inclusionai-ling-3.0-flash": f"{THINK} open closed",
    "llama-cpp-deepseek-r1": DEEPSEEK,
    "llama-cpp-rwkv-world": f"{THINK} open closed",
    "mistralai-Ministral-3-14B-Reasoning-2512": "[THINK] [/THINK] undecided undecided always",
    "muse-glimmer": "to=self<|message|> <|eom|> undecided closed",
    "openai-gpt-oss-120b": "<|channel|>analysis<|message|> <|end|> undecided closed",
    "openbmb-MiniCPM5-1B": f"{THINK} open closed",
    "poolside-Laguna-S-2.1": f"{THINK} open closed",
    "poolside-Laguna-XS-2.1": f"{THINK} open closed",
    "poolside-Laguna-XS.2": f"{THINK} open closed",
    "tencent-Hy3": "<think:opensource> </think:opensource> open closed",
    "unsloth-Apriel-1.5": f"{APRIEL} undecided undecided always",
    "upstage-Solar-Open-100B": "<|think|> <|end|> undecided closed",
}
EFFORTS = {
    "Kimi-K3": {"low", "high"},
    "openai-gpt-oss-120b": {"low", "medium", "high"},
    "tencent-Hy3": {"low", "high"},
    "upstage-Solar-Open-100B": {"low", "medium", "high"},
}
MESSAGES = (Message("user", "What is 2 + 2?"),)


def summary(found: ReasoningFormat | None) -> str:
    if found is None:
        return ""
    markers = found.on.markers
    always = " always" if found.always_reasons else ""
    text = f"{markers.opening.strip()} {markers.closing.strip()} {found.on.end} {found.off.end}"
    return text + always


def reference(template: str, **variables: Any) -> str:
    """What transformers' `apply_chat_template` renders, by the same settings of Jinja."""
    text = MESSAGES[0].content
    for content in (text, [{"type": "text", "text": text}]):
        try:
            rendered = compiled(template).render(
                messages=[{"role": "user", "content": content}],
                add_generation_prompt=True,
                bos_token="<s>",
                eos_token="</s>",
                **variables,
            )
        except Exception:
            continue
        if text in rendered:
            return rendered
    raise AssertionError("the template takes no question")


def ours(model: GGUF, reasoning: Reasoning | None) -> str:
    texts = {0: "<s>", 1: "</s>"}
    segments = render_chat_template(MESSAGES, model, reasoning)
    return "".join(s if isinstance(s, str) else texts[s] for s in segments)


def test_the_markers_and_switches_of_real_templates(real_templates: dict[str, str]) -> None:
    found = {name: find_reasoning(model_of(each)) for name, each in real_templates.items()}
    assert len(found) == 70
    assert {name: text for name, each in found.items() if (text := summary(each))} == EXPECTED
    efforts = {name: set(each.efforts) for name, each in found.items() if each and each.efforts}
    assert efforts == EFFORTS


def test_prompts_are_those_of_transformers_with_and_without_reasoning(
    real_templates: dict[str, str],
) -> None:
    compared = 0
    for name, template in real_templates.items():
        model = model_of(template)
        found = find_reasoning(model)
        for reasoning in [None, *((found.on, found.off) if found else ())]:
            try:
                variables = reasoning.variables if reasoning else {}
                expected = reference(template, **variables)
            except AssertionError:
                continue
            suffix = reasoning.suffix if reasoning else ""
            rendered = re.sub("2026|[A-Z][a-z]+ 2026", "today", ours(model, reasoning))
            assert _undated(rendered) == _undated(expected.removeprefix("<s>") + suffix), name
            compared += 1
    assert compared > 150


def _undated(text: str) -> str:
    """`text` without the lines that have today's date."""
    text = text.removeprefix("<s>")
    return "\n".join(line for line in text.split("\n") if not re.search(r"today|20\d\d", line))


@pytest.mark.parametrize("template", ["", "{{ messages[0].content }}", "{{ 'think' }}"])
def test_a_template_without_markers_does_not_reason(template: str) -> None:
    assert find_reasoning(model_of(template)) is None


def test_an_undecided_prompt_can_begin_the_thought(real_templates: dict[str, str]) -> None:
    found = find_reasoning(model_of(real_templates["Qwen-Qwen3-0.6B"]))
    assert found
    assert ours(model_of(real_templates["Qwen-Qwen3-0.6B"]), found.on.opened).endswith(
        "<|im_start|>assistant\n<think>\n"
    )
