"""Every vocabulary of llama.cpp that writes text, in all four tasks, with all kinds of text."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support.odd_texts import TEXTS
from support.program import Run
from support.short_vocabularies import write_short_vocabulary
from synthetic.scripted import write_scripted

from mistral_cli.errors import ExitCode
from mistral_cli.models.gguf import reread_gguf

NAMES = (
    *("aquila", "baichuan", "command-r", "deepseek-coder", "deepseek-llm", "falcon", "gemma-4"),
    *("gpt-2", "gpt-neox", "llama-bpe", "llama-spm", "mpt", "phi-3", "qwen2", "qwen35", "refact"),
    "starcoder",
)
FOR_CTRANSFORMERS = {"baichuan", "llama-spm", "phi-3"}
PROMPT_END = "<|go|>"
TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}" + PROMPT_END + "{% endif %}"
)
OPTIONS = ("--temperature", 0, "--repetition-penalty", 1, "-c", 2048, "-n", 80, "-t", 1)
OPTIONS += ("--no-serve", "--no-cache", "-q")
TASKS = {
    "generate": [],
    "translate": ["--to", "German"],
    "summarize": ["--sentences", "1"],
    "json-extract": ["--fields", "a,b"],
    "classify": ["--labels", "a bug, a bug report, </s>"],
}


def scripted(vocabulary: Path, path: Path) -> tuple[Path, str]:
    """A model that writes two words of its vocabulary after any prompt, and those words."""
    old = reread_gguf(vocabulary)
    is_word = re.compile(rb"[A-Z][a-z]{3,}")
    end, *words = [n for n, text in enumerate(old.tokens) if is_word.fullmatch(text)][-1:-4:-1]
    script = [f"#{token}" for token in (end, *words, old.eos_id)]
    write_scripted(path, vocabulary, TEMPLATE, script, respelled={end: PROMPT_END})
    return path, "".join(old.tokens[word].decode() for word in words)


@pytest.mark.parametrize("name", NAMES)
def test_all_tasks_answer_any_text(
    name: str, real_files: Path, tmp_path: Path, in_process: Run
) -> None:
    short = write_short_vocabulary(tmp_path / "short.gguf", real_files / f"ggml-vocab-{name}.gguf")
    path, answer = scripted(short, tmp_path / "model.gguf")
    text = "\n".join(TEXTS.values())
    for engine in ("llama.cpp", "ctransformers")[: 1 + (name in FOR_CTRANSFORMERS)]:
        model = ("-m", path, "--engine", engine, *OPTIONS)
        results = {
            task: in_process(task, *options, *model, "--", text) for task, options in TASKS.items()
        }
        assert {(result.status, result.stderr) for result in results.values()} == {(0, "")}
        written = {task: result.stdout for task, result in results.items()}
        assert written["generate"] == written["summarize"] == f"{answer}\n"
        # Each sentence becomes the answer; what separates them stays as it is.
        assert written["translate"].count(answer) > 5
        assert not re.search(r"\w", written["translate"].replace(answer, ""))
        extracted = json.loads(written["json-extract"])
        assert [*extracted] == ["a", "b"]
        assert all(value in text for value in extracted.values())
        assert written["classify"].strip() in {"a bug", "a bug report", "</s>"}
        empty = in_process("generate", *model, "--", "")
        assert (empty.status, empty.stdout) == (ExitCode.USAGE, "")


def test_no_other_vocabulary_writes_text(real_files: Path) -> None:
    names = {file.stem.removeprefix("ggml-vocab-") for file in real_files.glob("*.gguf")}
    assert names - {*NAMES} == {"bert-bge", "nomic-bert-moe"}
