"""Grammars over a vocabulary: the tokens that they allow, force and refuse."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from mistral_cli.engines.decoding.constraint import Constraint
from mistral_cli.engines.registry import backend
from mistral_cli.errors import EngineFailed
from mistral_cli.models.gguf import GGUF, read_gguf
from mistral_cli.models.gguf.token_text import detokenize
from mistral_cli.structured.grammar import json_grammar
from mistral_cli.structured.spec import BoundSpec, OutputSpec

CTRANSFORMERS = backend("ctransformers")

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"enum": ["日本語", "a  b", "😀"]},
        "age": {"type": "integer", "minimum": 0, "maximum": 99},
        "note": {"type": "string", "maxLength": 4},
    },
    "required": ["name", "age", "note"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def model(mistral: Path) -> GGUF:
    return read_gguf(mistral)


def constraint(grammar_tokenizer: object, model: GGUF, grammar: str) -> Constraint:
    return Constraint(grammar_tokenizer, grammar, len(model.tokens))


@pytest.mark.parametrize("seed", range(10))
def test_any_walk_through_the_grammar_is_valid(
    model: GGUF, grammar_tokenizer: object, seed: int
) -> None:
    matcher = constraint(grammar_tokenizer, model, json_grammar(SCHEMA, many=False))
    choice, tokens = random.Random(seed), list[int]()
    while not matcher.finished:
        token = choice.choice(np.flatnonzero(matcher.allowed()).tolist())
        matcher.consume(token)
        tokens += [token, *matcher.forced(100)]
        assert len(tokens) < 200
    BoundSpec(OutputSpec(SCHEMA), "").parse(detokenize(model, tokens))


def test_forced_tokens_have_a_limit(model: GGUF, grammar_tokenizer: object) -> None:
    grammar = json_grammar({"const": "one two three four five six"}, many=False)
    whole = constraint(grammar_tokenizer, model, grammar)
    forced = whole.forced(100)
    assert json.loads(detokenize(model, forced)) == "one two three four five six"
    assert whole.finished
    assert whole.forced(100) == []
    part = constraint(grammar_tokenizer, model, grammar)
    assert part.forced(0) == []
    assert part.forced(3) == forced[:3]
    assert not part.finished
    assert part.forced(100) == forced[3:]
    assert part.finished


def test_control_tokens_are_never_allowed(model: GGUF, grammar_tokenizer: object) -> None:
    allowed = constraint(grammar_tokenizer, model, "start: /(.|\\n)*/").allowed()
    assert allowed.shape == (len(model.tokens),)
    assert allowed.dtype == np.bool_
    assert [token for token in range(3) if allowed[token]] == [model.eos_id]
    assert allowed.sum() > 31_000


@pytest.mark.parametrize("grammar", ["start: (", "start: unknown", "", "%json {}"])
def test_a_grammar_that_cannot_be_compiled(
    model: GGUF, grammar_tokenizer: object, grammar: str
) -> None:
    with pytest.raises(EngineFailed, match="grammar"):
        constraint(grammar_tokenizer, model, grammar)


def test_a_token_against_the_grammar(model: GGUF, grammar_tokenizer: object) -> None:
    matcher = constraint(grammar_tokenizer, model, 'start: "yes"')
    wrong = int(np.flatnonzero(~matcher.allowed())[500])
    with pytest.raises(EngineFailed, match="grammar"):
        matcher.consume(wrong)
