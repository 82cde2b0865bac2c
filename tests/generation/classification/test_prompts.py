"""The tokens of labels, and the examples that fit a prompt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.plans import tokenizer_of

from mistral_cli.generation.classification.prompts import (
    Question,
    continuations_of,
    fitting_examples,
    questions_of,
)
from mistral_cli.models.gguf import read_gguf
from mistral_cli.models.gguf.token_text import detokenize
from mistral_cli.texts.labels import Label, LabelledText

WORDS = (("bug",), ("bug report",), ("praise",), ("</s>",))


def continuations(path: Path, before: str, words: tuple[tuple[str, ...], ...] = WORDS) -> list[str]:
    model = read_gguf(path)
    found = continuations_of(Question({}, words), before, model, tokenizer_of(path))
    assert not any(model.eos_id in ids[:-1] for each in found for ids in each)
    return [detokenize(model, ids) for each in found for ids in each]


def test_a_label_that_begins_another_is_followed_by_the_end(smollm2: Path) -> None:
    spelled = continuations(smollm2, "assistant\n")
    assert spelled == ["bug<|im_end|>", "bug report", "praise", "</s>"]
    assert continuations(smollm2, "", WORDS[1:3]) == ["bug report", "praise"]


def test_after_a_word_a_label_may_have_a_space_before_it(smollm2: Path) -> None:
    spelled = continuations(smollm2, "Answer:", (("bug",), ("praise",)))
    assert spelled == ["bug", " bug", "praise", " praise"]


def test_mistrals_formats_tokenize_an_answer_by_itself(mistral: Path) -> None:
    spelled = continuations(mistral, "[INST] x [/INST]")
    assert [text.strip() for text in spelled] == ["bug</s>", "bug report", "praise", "</s>"]
    # The text </s> is no control token.
    model = read_gguf(mistral)
    (tokens,) = continuations_of(Question({}, WORDS[3:]), "", model, tokenizer_of(mistral))
    assert model.eos_id not in tokens[0]


def test_sentencepiece_in_another_chat_format_has_labels_with_and_without_a_space(
    mistral: Path,
) -> None:
    model = read_gguf(mistral)
    other = replace(model, metadata={**model.metadata, "tokenizer.chat_template": "<|user|>"})
    found = continuations_of(
        Question({}, (("bug",), ("praise",))), "assistant\n", other, tokenizer_of(mistral)
    )
    texts = [[detokenize(model, ids) for ids in each] for each in found]
    assert [{text.strip() for text in each} for each in texts] == [{"bug"}, {"praise"}]


def test_there_is_a_question_for_each_label_or_each_order() -> None:
    labels = [Label("a"), Label("b", "the second"), Label("c")]
    forward, reverse = questions_of(labels, [], multi=False, orders=2)
    assert [each["name"] for each in forward.values["labels"]] == ["a", "b", "c"]
    assert [each["name"] for each in reverse.values["labels"]] == ["c", "b", "a"]
    assert forward.answers == reverse.answers == (("a",), ("b",), ("c",))
    several = questions_of(labels, [], multi=True, orders=1)
    assert [each.values["label"]["name"] for each in several] == ["a", "b", "c"]
    assert several[1].values["label"]["description"] == "the second"


def count(text: str) -> int:
    return len(text.split())


def example(words: int, label: str) -> LabelledText:
    return LabelledText(" ".join(["word"] * words), (label,))


@pytest.mark.parametrize("room", [0, 10, 30, 100, 1000])
def test_examples_stay_within_their_room(room: int) -> None:
    examples = [example(size, label) for size in (3, 50, 200) for label in "aabbbc"]
    chosen = fitting_examples(examples, count, room, overhead=5)
    used = sum(min(count(each.text), count(each.text.removesuffix(" …"))) + 5 for each in chosen)
    assert used <= room
    assert len(chosen) == min(room // 17, 18)


def test_each_label_gets_as_many_examples() -> None:
    examples = [example(3, label) for label in "aaaaaabbc"]
    chosen = [each.labels[0] for each in fitting_examples(examples, count, 17 * 5, overhead=5)]
    assert sorted(chosen) == ["a", "a", "b", "b", "c"]


def test_short_examples_leave_their_room_to_the_long_ones() -> None:
    examples = [example(2, "a"), example(100, "b")]
    short, long = fitting_examples(examples, count, 50, overhead=5)
    assert short == examples[0]
    assert 30 <= count(long.text) <= 39
    assert fitting_examples(examples, count, 200, overhead=5) == examples
