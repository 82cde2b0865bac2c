"""Templates run in bounded time and memory, and their output is kept without the texts."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.gguf_parts import GGUFParts, words
from support.program import Run

from mistral_cli.errors import MistralCliError
from mistral_cli.models.chat import skeleton as module
from mistral_cli.models.chat.jinja_process import CPU_SECONDS, MEMORY
from mistral_cli.models.chat.skeleton import Rendering, TemplateFailed, skeleton

HANG_SECONDS = 60  # on a busy machine: a bound that detects a hang
CONTENT = "{{ messages[0].content }}"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, on disk and in memory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "_known", {})
    return tmp_path / "cache"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The processes that were started."""
    commands: list[object] = []
    run = subprocess.run

    def counted(command: Sequence[str], **options: object) -> object:
        commands.append(command)
        return run(command, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", counted)
    return commands


def render(source: str) -> str:
    messages = [{"role": "user", "content": "x"}]
    return skeleton(source, Rendering([messages], {"add_generation_prompt": True}, "x"))


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{{ a }}{% endfor %}{% endfor %}",
        "{{ 'x' * 999999999 }}",
        "{% set x = 'x' * 999999999 %}",
        "{% set x = [1] * 999999999 %}",
        "{{ '%999999999d' % 1 }}",
        "{{ '%*d' | format(999999999, 1) }}",
        "{{ '{:>999999999}'.format('x') }}",
        "{{ 'x' | center(999999999) }}",
        "{{ 'x\\nx' | indent(999999999) }}",
        "{{ ('x ' * 10000000) | wordwrap(1) }}",
        "{{ (['x' * 1000] * 1000000) | join('y' * 1000) }}",
        "{{ [1] | batch(999999999, 'x') | list }}",
        "{{ 'x'.ljust(999999999) }}",
        "{{ '\\t'.expandtabs(999999999) }}",
        "{{ {'a': 1} | tojson(indent=999999999) }}",
        "{{ lipsum(n=10000000) }}",
        "{% set x = 10 ** 100000000 %}",
        "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
        "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(50) }}",
        "{% for x in [1] recursive %}{{ loop([1, 1]) }}{% endfor %}",
        "{% set n = namespace(s='x') %}{% for i in range(99) %}{% set n.s = n.s * 2 %}{% endfor %}",
        "{% set s = 'x' %}" + "{% set s = s ~ s %}" * 99,
        "{% set a %}xxxxxxxx{% endset %}" + "{% set a %}{{ a }}{{ a }}{{ a }}{% endset %}" * 40,
        "{{ strftime_now('%Y' * 99999999) }}",
        "{{ raise_exception('x' * 99999999) }}",
        "{{ 'x' * 1100000 }}",
        "{{ " + "(" * 60000 + "1" + ")" * 60000 + " }}",
        "{{ " + "[" * 60000 + "]" * 60000 + " }}",
        "{{ " + "not " * 30000 + "1 }}",
        "{% if 1 %}" * 6000 + "{% endif %}" * 6000,
    ],
)
def test_time_memory_and_output_are_bounded(template: str) -> None:
    start = time.monotonic()
    with pytest.raises(TemplateFailed) as caught:
        render(template + CONTENT)
    assert time.monotonic() - start < HANG_SECONDS
    assert 0 < len(str(caught.value)) <= 200


def test_the_reason_names_the_limit() -> None:
    with pytest.raises(TemplateFailed, match=f"more than {CPU_SECONDS} seconds"):
        render("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}")
    with pytest.raises(TemplateFailed, match=f"more than {MEMORY >> 20} MB"):
        render("{{ 'x' * 999999999 }}")


def test_a_hostile_template_ends_the_program_with_one_line(
    run: Run, mistral: Path, tmp_path: Path
) -> None:
    hostile = tmp_path / "hostile.gguf"
    for template in ("{{ 'x' * 999999999 }}", "x" * 20_000_000):
        parts = GGUFParts(mistral)
        parts.put(words("tokenizer.chat_template", template + CONTENT))
        parts.put(words("tokenizer.ggml.pre", "default"))
        hostile.write_bytes(parts.build())
        result = run("generate", "Hi", "-m", hostile, "-q")
        assert (result.stdout, result.status) == ("", 4)
        assert "the chat template of hostile.gguf fails: it " in result.stderr
        assert len(result.stderr.splitlines()) == 2  # the error and its hint


def test_a_second_rendering_starts_no_process(
    started: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        assert render("<{{ messages[0].content }}>") == "<x>"
        monkeypatch.setattr(module, "_known", {})  # as in a new process
    assert len(started) == 1


def test_failures_are_not_kept_on_disk(own_cache: Path) -> None:
    with pytest.raises(TemplateFailed, match="it leaves out the text"):
        render("nothing")
    assert not own_cache.exists()


@pytest.mark.parametrize(
    "ends", ["raise subprocess.TimeoutExpired", "return subprocess.CompletedProcess"]
)
def test_a_process_that_fails_once_is_not_remembered(
    ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(command: Sequence[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        monkeypatch.undo()
        if ends.startswith("raise"):
            raise subprocess.TimeoutExpired(command, 30)
        return subprocess.CompletedProcess(command, -signal.SIGKILL, b"", b"")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(TemplateFailed):
        render(CONTENT)
    assert render(CONTENT) == "x"


def test_a_template_that_asks_for_the_time_is_rendered_again_when_the_answer_changes(
    started: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    by_year, by_microsecond = "{{ strftime_now('%Y') }}", "{{ strftime_now('%f') }}"
    for _ in range(2):
        assert render(by_year + CONTENT) == time.strftime("%Y") + "x"
    assert len(started) == 1
    for _ in range(2):
        render(by_microsecond + CONTENT)
    assert len(started) == 3
    for result in module._known.values():
        result["clock"] = dict.fromkeys(result["clock"], "1999")
    render(by_year + CONTENT)
    assert len(started) == 4


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"text": 1}', "\0" * 9])
def test_a_damaged_cache_is_ignored(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    render(CONTENT)
    (kept,) = own_cache.rglob("*.json")
    kept.write_text(content)
    monkeypatch.setattr(module, "_known", {})
    assert render(CONTENT) == "x"


def test_the_cache_stays_small(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_KEPT", 2)
    for number in range(5):
        render(f"{number}{CONTENT}")
    assert len(list(own_cache.rglob("*.json"))) <= 3
    assert len(module._known) <= 2


def test_without_a_cache_folder_it_works(own_cache: Path) -> None:
    own_cache.write_text("a file")
    assert render(CONTENT) == "x"


def test_threads_may_render_at_the_same_time() -> None:
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(render, [f"{n % 3}{CONTENT}" for n in range(12)])) == [
            f"{n % 3}x" for n in range(12)
        ]


def test_no_process_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sys, "executable", "/nowhere")
    with pytest.raises(MistralCliError, match="cannot start a process"):
        render(CONTENT)


def test_the_result_has_no_text_of_the_user(own_cache: Path, run: Run, smollm2: Path) -> None:
    model = ("-m", smollm2, "-q", "-n", 1)
    assert run("generate", "A secret.", *model, "--system", "Another.").status == 0
    (kept,) = (own_cache / "mistral-cli" / "chat-templates").iterdir()
    text = json.loads(kept.read_text())["results"][0]["text"]
    assert "<|im_start|>user\n" in text
    assert "secret" not in text
    assert "Another" not in text
    assert kept.stat().st_mode & 0o077 == 0 or kept.parent.stat().st_mode & 0o077 == 0
