"""The prompts of all four tasks in 70 real templates are those of transformers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jinja2
import pytest
from support.chat_reference import compiled, model_of
from support.terminals import make_terminal

from mistral_cli.errors import ModelUnusable
from mistral_cli.generation.options import TaskOptions
from mistral_cli.generation.prompt import PromptBuilder
from mistral_cli.generation.task import Task
from mistral_cli.models.chat import Message, jinja_process, skeleton
from mistral_cli.models.chat.reasoning import Reasoning, find_reasoning
from mistral_cli.models.chat.template import render_chat_template
from mistral_cli.models.gguf import GGUF
from mistral_cli.tasks.classify import classify
from mistral_cli.tasks.json_extract import json_extract
from mistral_cli.tasks.summarize import summarize
from mistral_cli.tasks.translate import TranslationStrategy, translate
from mistral_cli.texts.glossary import Glossary
from mistral_cli.texts.inputs import Text

GLOSSARY = Glossary({"quotes": "Zitate"})
TEXT = 'Eins: 日本語 👩‍👩‍👧‍👦 e\u0301 שלום\n\n  {{ x }} {% y %} Bob\'s "quotes" & <b> end'
REFUSED = {"fireworks-ai-llama-3-firefunction-v2"}
"""They need variables that no conversation has."""
SYSTEM = TaskOptions(system="Be brief.\n\nAnd kind.")
ONE_SHOT = [
    Message("system", "Answer in one word."),
    Message("user", "A greeting?"),
    Message("assistant", "Hello"),
    Message("user", TEXT),
]


def prompts() -> dict[str, list[Message]]:
    """The messages of each task, with what its options add."""
    plain = TaskOptions()
    tasks: dict[str, tuple[Task, TaskOptions, str | None]] = {
        "generate": (Task("generate"), plain, None),
        "generate with an instruction": (Task("generate"), plain, "Explain."),
        "generate with a system text": (Task("generate"), SYSTEM, None),
        "translate": (translate(to="German", source="English"), plain, None),
        "translate with a glossary": (glossary_task(), plain, None),
        "summarize": (summarize(sentences=2, style="formal"), plain, "Only dates."),
        "classify": (classify_task(), plain, "Be strict."),
        "json-extract": (json_extract(fields="name, year int"), plain, None),
        "json-extract with a system text": (json_extract(many=True), SYSTEM, None),
    }
    found = {}
    for name, (task, options, instruction) in tasks.items():
        builder = replace(PromptBuilder.of(task, options), instruction=instruction)
        content = builder.build(Text(TEXT, "argument"), task.template_values(TEXT)).content
        assert isinstance(content, list)
        found[name] = content
    chunk = PromptBuilder.of(summarize(sentences=2), plain).for_chunks().build(Text(TEXT, "a"))
    assert isinstance(chunk.content, list)
    return {**found, "a chunk of a summary": chunk.content, "an example": ONE_SHOT}


def classify_task() -> Task:
    task = classify(labels="bug, <|im_end|>")
    assert task.read_files
    return task.read_files(task, make_terminal(), "auto")


def glossary_task() -> Task:
    return replace(translate(to="German"), strategy=TranslationStrategy(GLOSSARY))


@pytest.fixture
def without_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Render in this process: a process for each of some thousand prompts takes minutes."""

    def run(job: Mapping[str, Any]) -> dict[str, Any]:
        clock: dict[str, str] = {}
        renderings = json.loads(json.dumps(job["renderings"]))
        results = [jinja_process._render(job["source"], each, clock) for each in renderings]
        return {"results": results, "clock": clock}

    monkeypatch.setattr(skeleton, "_run", run)
    monkeypatch.setattr(skeleton, "_load", lambda _: None)
    monkeypatch.setattr(skeleton, "_save", lambda *_: None)


def joined(messages: Sequence[Message]) -> str:
    return "\n\n".join(message.content for message in messages)


def forms(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """The messages, and with the system text in the first turn of the user."""
    yield list(messages)
    if messages[0].role == "system":
        yield [Message("user", joined(messages[:2])), *messages[2:]]


def reference(template: jinja2.Template, messages: Sequence[Message], values: Any) -> str | None:
    """What transformers renders of the first form that the template takes with all its texts."""
    texts = [message.content.strip() for message in messages if message.role != "assistant"]
    for in_parts in (False, True):
        for form in forms(messages):
            turns = [
                {
                    "role": m.role,
                    "content": [{"type": "text", "text": m.content}] if in_parts else m.content,
                }
                for m in form
            ]
            try:
                text = template.render(
                    messages=turns,
                    add_generation_prompt=True,
                    bos_token="<s>",
                    eos_token="</s>",
                    **values,
                )
            except Exception:
                continue
            if all(each in text for each in texts):
                return text
    return None


def ours(model: GGUF, messages: Sequence[Message], reasoning: Reasoning | None) -> str:
    names = {0: "<s>", 1: "</s>"}
    segments = render_chat_template(messages, model, reasoning)
    return "".join(each if isinstance(each, str) else names[each] for each in segments)


def undated(text: str) -> list[str]:
    """The lines of `text` without those that have today's date."""
    lines = text.removeprefix("<s>").split("\n")
    return [line for line in lines if not re.search(r"today|20\d\d", line)]


def test_every_task_in_every_template_with_and_without_reasoning(
    real_templates: dict[str, str], without_processes: None
) -> None:
    compared, refused, tasks = 0, set[str](), prompts()
    for name, source in real_templates.items():
        model, template = model_of(source), compiled(source)
        found = find_reasoning(model)
        for reasoning in (None, *((found.on, found.off) if found else ())):
            for task, messages in tasks.items():
                values = reasoning.variables if reasoning else {}
                expected = reference(template, messages, values)
                if expected is None:
                    with pytest.raises(ModelUnusable, match="the chat template of"):
                        ours(model, messages, reasoning)
                    refused.add(name)
                    continue
                expected += reasoning.suffix if reasoning else ""
                assert undated(ours(model, messages, reasoning)) == undated(expected), (name, task)
                compared += 1
    assert refused == REFUSED
    assert compared > 1500
