"""Templates: where they are found, their headers, and values that are never interpreted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment

from mistral_cli.errors import UsageError
from mistral_cli.generation.templates import (
    Template,
    available_templates,
    builtin_folder,
    check_source,
    find_template,
    read_template,
)
from mistral_cli.models.chat import Message
from mistral_cli.system.config import prompts_dir

BUILT_IN = [
    "classify",
    "complete",
    "generate",
    "json-extract",
    "midjourney",
    "summarize",
    "summarize-extractive",
    "summarize-part",
    "translate",
]


def write(name: str, content: str | bytes) -> Path:
    """Put a template into the user's folder."""
    path = prompts_dir() / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def fill(content: str, text: str = "TEXT", **arguments: Any) -> list[Message]:
    return read_template(write("mine", content)).fill(text, **arguments)


def user_text(messages: list[Message]) -> str:
    (message,) = messages
    assert message.role == "user"
    return message.content


# --- built-in templates --------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_templates_are_valid(name: str) -> None:
    """The program itself checks only the user's templates."""
    check_source(find_template(name))


ONLY = "Answer with the JSON only."
KEEP = "Keep its meaning, tone, line breaks and formatting. Answer with the translation only."
FROM_BELOW = f"from the text below as one JSON object. Use only what the text says. {ONLY}"


@pytest.mark.parametrize(
    ("name", "values", "instruction", "expected"),
    [
        ("generate", {}, None, "A\n\nB"),
        ("generate", {}, "Do it.", "A\n\nB\n\nDo it."),
        (
            "translate",
            {},
            None,
            f"Translate the following text into English. {KEEP}\n\nA\n\nB",
        ),
        (
            "translate",
            {"from": "German", "to": "French"},
            "Be formal.",
            f"Translate the following text from German into French. {KEEP}\nBe formal.\n\nA\n\nB",
        ),
        (
            "summarize",
            {},
            None,
            "A\n\nB\n\n---\n\nSummarize the text above. Answer with the summary only.",
        ),
        (
            "summarize",
            {"sentences": 1},
            None,
            "A\n\nB\n\n---\n\nSummarize the text above in exactly 1 sentence. "
            "Answer with the summary only.",
        ),
        (
            "summarize",
            {"sentences": "3"},
            "For children.",
            "A\n\nB\n\n---\n\nSummarize the text above in exactly 3 sentences. "
            "Answer with the summary only.\nFor children.",
        ),
        ("json-extract", {}, None, f"Extract the information {FROM_BELOW}\n\nA\n\nB"),
        (
            "json-extract",
            {"fields": "- name (string)\n- age (integer)"},
            "Only adults.",
            f"Extract these fields {FROM_BELOW}\n- name (string)\n- age (integer)\n"
            "Only adults.\n\nA\n\nB",
        ),
    ],
)
def test_built_in_prompts(
    name: str, values: Mapping[str, Any], instruction: str | None, expected: str
) -> None:
    assert (
        user_text(find_template(name).fill("A\n\nB", instruction, task_values=values)) == expected
    )


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_templates_describe_themselves_and_set_every_option(name: str) -> None:
    template = find_template(name)
    assert template.description.endswith(".")
    sampled = {"temperature", "top_k", "top_p", "min_p", "repetition_penalty"}
    # `generate` leaves sampling to the model's file.
    assert set(template.options) == {"max_tokens"} | (sampled if name != "generate" else set())


# --- finding -------------------------------------------------------------------------------------


def test_the_users_folder_comes_first() -> None:
    assert find_template("summarize").path.parent == builtin_folder()
    path = write("summarize", "Mine: {{ text }}")
    assert find_template("summarize").path == path
    assert [t.path for t in available_templates() if t.name == "summarize"] == [path]


def test_a_file_is_found_by_its_path_and_not_by_a_bare_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("own.txt", "plain", "summarize"):
        (tmp_path / name).write_text("{{ text }}")
    assert find_template("own.txt").name == find_template(str(tmp_path / "own.txt")).name == "own"
    assert find_template("./plain").source == "{{ text }}"
    assert find_template("summarize").path.parent == builtin_folder()
    with pytest.raises(UsageError, match="no template 'plain'"):
        find_template("plain")


@pytest.mark.parametrize(
    "reference",
    [
        "nothing",
        "../secret",
        "../../secret",
        "sub/../../secret",
        "sub/inner",
        "..",
        ".",
        "",
        "/",
        "~no-such-user/x",
        "x" * 5000,
        "x/" * 5000,
        "nul\0.txt",
        "summarize/",
        "Summarize",
    ],
)
def test_an_unknown_template_is_an_error_that_lists_the_known_ones(reference: str) -> None:
    write("sub", "{{ text }}")
    for outside in (prompts_dir().parent, prompts_dir().parent.parent):
        (outside / "secret.txt").write_text("{{ text }}")
    (prompts_dir() / "sub").mkdir()
    (prompts_dir() / "sub" / "inner.txt").write_text("{{ text }}")
    with pytest.raises(UsageError, match="there is no template") as caught:
        find_template(reference)
    assert ", ".join(sorted([*BUILT_IN, "sub"])) in caught.value.hint


def test_a_broken_template_is_listed_with_its_error_and_others_still_work() -> None:
    path = write("broken", "{{ text")
    write("good", '+++\ndescription = "Works."\n+++\n{{ text }}')
    (prompts_dir() / "folder.txt").mkdir()
    listed = {template.name: template.description for template in available_templates()}
    assert sorted(listed) == sorted([*BUILT_IN, "broken", "good"])
    assert listed["good"] == "Works."
    assert f"{path} is not usable: unexpected end" in listed["broken"]
    with pytest.raises(UsageError, match="no template 'x'") as caught:
        find_template("x")
    assert "broken, classify, complete, generate, good" in caught.value.hint
    with pytest.raises(UsageError, match="not usable"):
        find_template("broken")


# --- the header ----------------------------------------------------------------------------------


def test_a_complete_header() -> None:
    template = read_template(
        write(
            "mine",
            "+++\r\n"
            'description = "Mine"\r\n'
            'system = "Speak {{ to }}."\r\n'
            "[options]\r\ntemperature = 1\r\ntop_k = 5\r\n"
            '[params]\r\nto = "Greek"\r\n'
            '[schema]\r\ntype = "object"\r\n'
            "+++ \r\n"
            "To {{ to }}:\r\n\r\n{{ text }}\r\n",
        )
    )
    assert (template.name, template.description) == ("mine", "Mine")
    assert template.options == {"temperature": 1, "top_k": 5}
    assert template.schema == {"type": "object"}
    assert template.fill("a\r\nb") == [
        Message("system", "Speak Greek."),
        Message("user", "To Greek:\n\na\r\nb"),
    ]


@pytest.mark.parametrize("header", ["", "+++\n+++\n", "+++\n\n+++\n", "\ufeff+++\n# note\n+++\n"])
def test_a_header_may_be_absent_or_empty(header: str) -> None:
    assert fill(f"{header}+ {{{{ text }}}} +++\n+++") == [Message("user", "+ TEXT +++\n+++")]


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("colour = 1", "unknown key 'colour'"),
        ("description = 1", "'description' in its header must be a string"),
        ("system = []", "'system' in its header must be a string"),
        ("options = 5", "'options' in its header must be a table"),
        ("params = 'x'", "'params' in its header must be a table"),
        ("reasoning = 'no'", "'reasoning' in its header must be one of: auto, on, off"),
        ("on_limit = 'stop'", "'on_limit' in its header must be one of: fail, close"),
        ("on_limit = true", "'on_limit' in its header must be a string"),
        ("schema = true", "'schema' in its header must be a table"),
        ("options.seed = 1", r"unknown key 'options\.seed'"),
        ("options.max_tokens = 1.5", r"'options\.max_tokens' .* number .*, not 1\.5"),
        ("options.max_tokens = true", r"'options\.max_tokens' .* number .*, not True"),
        ("options.max_tokens = 0", r"'options\.max_tokens' .* number .*, not 0"),
        ("options.temperature = '1'", r"'options\.temperature' .* number .*, not '1'"),
        ("options.temperature = nan", r"'options\.temperature' .* number .*, not nan"),
        ("options.temperature = inf", r"'options\.temperature' .* number .*, not inf"),
        ("options.temperature = -0.1", r"'options\.temperature' .* number .*, not -0\.1"),
        ("options.top_k = -1", r"'options\.top_k' .* number .*, not -1"),
        ("options.top_p = 1.1", r"'options\.top_p' .* number .*, not 1\.1"),
        ("options.min_p = nan", r"'options\.min_p' .* number .*, not nan"),
        ("options.repeat_last_n = -1", r"'options\.repeat_last_n' .* number .*, not -1"),
        ("options.presence_penalty = 2.5", r"'options\.presence_penalty' .* number .*, not 2\.5"),
        ("options.dry_base = 0.5", r"'options\.dry_base' .* number .*, not 0\.5"),
        (
            "options.dry_allowed_length = 1.5",
            r"'options\.dry_allowed_length' .* number .*, not 1\.5",
        ),
        (
            "options.repetition_penalty = 0.0",
            r"'options\.repetition_penalty' .* number .*, not 0\.0",
        ),
        ("params.text = ''", r"'params\.text' in its header"),
        ("params.instruction = ''", r"'params\.instruction' in its header"),
        ("description = ", "not TOML"),
        ("a = 1\na = 2", "not TOML"),
        ("system = '{{ text'", "unexpected end"),
    ],
)
def test_header_errors_name_the_file_and_the_key(header: str, problem: str) -> None:
    path = write("mine", f"+++\n{header}\n+++\n{{{{ text }}}}")
    with pytest.raises(UsageError, match=problem) as caught:
        read_template(path)
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("+++\nsystem = 'x'\n{{ text }}", "no closing"),
        ("+++x\n+++\n{{ text }}", "no closing"),
        ("", "never uses {{ text }}"),
        ("Summarize.", "never uses {{ text }}"),
        ("{{ instruction }}", "never uses {{ text }}"),
        ("{% set text = 1 %}{{ text }}", "never uses {{ text }}"),
        ("{# {{ text }} #}", "never uses {{ text }}"),
        ("{{ text }", "unexpected"),
        ("{{ text | no_such }}", "no_such"),
        ("{{ text }}{{ " + "(" * 5000, "recursion"),
        (b"\xff\0{{ text }}", "not a text file"),
    ],
)
def test_files_that_are_not_templates(content: str | bytes, problem: str) -> None:
    path = write("mine", content)
    with pytest.raises(UsageError, match=problem) as caught:
        read_template(path)
    assert str(path) in caught.value.message


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the template"):
        read_template(tmp_path / "no.txt")


# --- filling -------------------------------------------------------------------------------------

SYNTAX = ["$", "$text", "{{", "}}", "{{ text }}", "{%", "%}", "{% raw %}", "{#", "#}", "+++", "\\"]
DATA = st.lists(st.sampled_from([*SYNTAX, " ", "\n", "\r\n"]) | st.text(max_size=5)).map("".join)
ONE_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@ONE_FOLDER
@given(text=DATA, instruction=DATA, value=DATA)
def test_data_arrives_unchanged(text: str, instruction: str, value: str) -> None:
    template = Template(Path("t.txt"), "({{ instruction }}|{{ text }}|{{ own }})\n")
    messages = template.fill(text, instruction, params={"own": value})
    assert messages == [Message("user", f"({instruction}|{text}|{value})")]


@ONE_FOLDER
@given(text=DATA)
def test_only_the_outermost_newlines_of_a_prompt_are_dropped(text: str) -> None:
    assert user_text(find_template("generate").fill(text)) == text.strip("\n")


@given(
    st.lists(st.text(max_size=20), min_size=2, max_size=3), st.text(max_size=5),
    st.sampled_from(["{{ text }}", "{% if instruction %}{{ text }}{% endif %}|{{ text }}",
                     "{{ text }}\n{{ instruction }}", "{{ text | upper }}", "x{{ text }}\n\n"]),
)  # fmt: skip
def test_each_row_has_the_prompt_that_jinja_renders(
    texts: list[str], instruction: str, source: str
) -> None:
    jinja = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    template = Template(Path("a.txt"), source)
    for each in texts:
        expected = jinja.from_string(source).render(text=each, instruction=instruction)
        (message,) = template.fill(each, instruction)
        assert message.content == expected.strip("\n")


def test_the_users_values_override_the_commands_and_those_the_headers() -> None:
    content = "+++\nparams = {a = 1, b = 1, c = 1}\n+++\n{{ a }}{{ b }}{{ c }}{{ text }}"
    task_values = {"b": 2, "unused": 2}
    assert user_text(fill(content, "", params={"c": "3"}, task_values=task_values)) == "123"
    with pytest.raises(UsageError, match="'b' is set twice, by an option and by -p"):
        fill(content, "", params={"b": "3"}, task_values=task_values)


def test_a_missing_value_is_named() -> None:
    with pytest.raises(
        UsageError, match=r"'mine' needs a value: 'audience' is undefined"
    ) as caught:
        fill("For {{ audience }}: {{ text }}")
    assert "-p NAME=VALUE" in caught.value.hint


@pytest.mark.parametrize("name", ["unknown", "text", "instruction", "__class__"])
def test_an_unknown_parameter_is_refused_and_the_known_ones_listed(name: str) -> None:
    content = "+++\nparams.unused = 1\n+++\n{{ to }} {{ text }} {{ instruction }}"
    with pytest.raises(UsageError, match=f"no parameter '{name}'") as caught:
        fill(content, params={"to": "x", name: "y"})
    assert caught.value.hint == "Its parameters: to, unused."
    assert user_text(fill(content, params={"to": "x", "unused": "y"})).startswith("x TEXT")


def test_a_line_with_only_a_tag_is_dropped() -> None:
    content = "A\n  {% if text %}\n  {{ text }}\n  {% endif %}\nB"
    assert user_text(fill(content, "  x\n")) == "A\n    x\n\nB"


def test_an_empty_system_text_gives_no_message() -> None:
    content = (
        "+++\nsystem = '{% if tone %} {{ tone }} {% endif %}'\nparams.tone = ''\n+++\n{{ text }}"
    )
    assert fill(content) == [Message("user", "TEXT")]
    assert fill(content, params={"tone": "kind"})[0] == Message("system", "kind")


@pytest.mark.parametrize(
    "expression",
    [
        "{{ ''.__class__ }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ text.__init__.__globals__ }}",
        "{{ ''|attr('__class__') }}",
        "{{ cycler.__init__.__globals__.os.getcwd() }}",
        "{{ self.__init__.__globals__ }}",
        "{{ '{0.__class__}'.format(text) }}",
        "{{ lipsum.__globals__ }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{{ 1 / 0 }}",
        "{{ 5 | dictsort }}",
        "{{ 'x' * 10 ** 14 }}",
        "{{ range(10 ** 9) }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    ],
)
def test_the_sandbox_holds_and_a_failing_template_is_an_error(expression: str) -> None:
    with pytest.raises(UsageError) as caught:
        fill(expression + "{{ text }}")
    assert "'mine'" in caught.value.message
    assert "\n" not in caught.value.message
