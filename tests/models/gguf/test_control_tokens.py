"""Control tokens are what a chat format uses as such, whatever the types in the file say."""

from __future__ import annotations

import pytest

from mistral_cli.models.gguf.control_tokens import find_control_tokens

NORMAL, CONTROL, USER_DEFINED = 1, 3, 4
TEMPLATE = "{{ '<start_of_turn>' + m.role + '\n' + m.content }}<eot>\n ]~b]ai {{ '### User:' }}"
ORDINARY = [
    "user",
    "\n",
    "\n\n",
    "###",
    " ",
    "<br>",
    "[0]",
    "[x]",
    "<|>",
    "<||>",
    "|>",
    "<t",
    "日本",
]


def control_tokens(kind: int, *texts: str, template: str = TEMPLATE) -> set[str]:
    tokens = [text.encode() for text in texts]
    return set(find_control_tokens(tokens, [kind] * len(tokens), template.encode(), ()))


@pytest.mark.parametrize("kind", [NORMAL, USER_DEFINED])
def test_what_the_template_uses_is_a_control_token(kind: int) -> None:
    used = {"<start_of_turn>", "<eot>", "]~b]"}
    assert control_tokens(kind, *ORDINARY, *used) == used


@pytest.mark.parametrize("kind", [NORMAL, USER_DEFINED])
@pytest.mark.parametrize(
    "text", ["<|im_start|>", "<\uff5cUser\uff5c>", "<|turn>", "<turn|>", "[|user|]", "〈|EOS|〉"]
)
def test_bars_are_enough(kind: int, text: str) -> None:
    """Templates put such tokens together: `'<|' + message.role + '|>'`."""
    expected = {text} if text[0] in "<[" else set()
    assert control_tokens(kind, *ORDINARY, text, template="") == expected


@pytest.mark.parametrize("kind", [NORMAL, CONTROL, USER_DEFINED])
def test_special_ids_are_control_tokens_if_they_look_like_one(kind: int) -> None:
    tokens = [b"</s>", b"\n\n", b"the"]
    expected = {"</s>": 0} | ({"\n\n": 1, "the": 2} if kind == CONTROL else {})
    assert find_control_tokens(tokens, [kind] * 3, b"", (0, 1, 2)) == expected


def test_a_vocabulary_may_have_no_types() -> None:
    assert find_control_tokens([b"a", b"[INST]"], (), b"", ()) == {"[INST]": 1}


def test_a_hostile_vocabulary_and_template_take_no_time() -> None:
    tokens = [b"<" * 100_000, b"[" * 100_000, *(b"<%d|" % n for n in range(200_000))]
    template = b"<[" * (1 << 16)
    assert find_control_tokens(tokens, [USER_DEFINED] * len(tokens), template, ()) == {}
