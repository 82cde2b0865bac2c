"""`--lookup` and `--draft-model`: drafted tokens make an answer faster, not different."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.engine_io import GREEDY
from support.program import Run, needs_native

from mistral_cli.engines.llama_cpp.client import LlamaServerClient
from mistral_cli.engines.protocol import ListenAddress, LoadOptions, Session, SpeculativeConfig
from mistral_cli.engines.registry import backend
from mistral_cli.engines.types import Finish, Prefix, Request, Sampling, TextDelta
from mistral_cli.models.chat import Message
from mistral_cli.models.chat.formats import encode
from mistral_cli.models.gguf import read_gguf
from mistral_cli.structured.grammar import json_grammar

SAMPLED = Sampling(0.7, 40, 0.95, 1.1, 5)
LETTER = (
    "Dear Mr. Bennett,\n\nThank you for your order of 3 March. We have sent 12 oak chairs "
    "(item 4471) and 2 tables (item 2210) to 17 Mill Lane, Exeter. Please pay 1,766.00 by 30 "
    "April to our account at Western Bank. If anything is damaged, call Susan Price between "
    "nine and five.\n\nYours sincerely,\nHarold Finch"
)
COPY = f"Copy this letter word for word:\n\n{LETTER}"
FREE = "Write a short story about a fox who learns to swim."
SCHEMA = {
    "type": "object",
    "properties": {"letter": {"type": "string", "maxLength": 300}},
    "required": ["letter"],
    "additionalProperties": False,
}
# One thread: more threads sum the attention to one token of a long text in another order.
PLAIN = LoadOptions(1024, 1)
LOOKUP = replace(PLAIN, speculative=SpeculativeConfig())


def _answer(engine: Session, smollm2: Path, text: str, **changes: object) -> str:
    ids = tuple(encode([Message("user", text)], read_gguf(smollm2), engine.tokenize))
    request = replace(Request(ids, 100, GREEDY), **changes)  # type: ignore[arg-type]
    events = list(engine.stream(request))
    assert isinstance(events[-1], Finish)
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def _answers(engine: Session, smollm2: Path) -> list[str]:
    return [
        _answer(engine, smollm2, COPY),
        _answer(engine, smollm2, FREE),
        _answer(engine, smollm2, COPY, sampling=SAMPLED),
        _answer(engine, smollm2, COPY, grammar=json_grammar(SCHEMA, many=False)),
    ]


def _with_draft_model(smollm2: Path) -> LoadOptions:
    """Options with the model as its own draft model, whose tokens are nearly always accepted."""
    return replace(PLAIN, speculative=SpeculativeConfig(smollm2))


@pytest.mark.parametrize(
    "load_options", [lambda _: LOOKUP, _with_draft_model], ids=["lookup", "draft model"]
)
@pytest.mark.parametrize("name", ["llama.cpp", pytest.param("native", marks=needs_native)])
def test_drafted_tokens_do_not_change_the_answers(
    name: str,
    load_options: Callable[[Path], LoadOptions],
    smollm2: Path,
    request: pytest.FixtureRequest,
) -> None:
    if name == "native":
        request.getfixturevalue("native")
    engine, model = backend(name), read_gguf(smollm2)
    with engine.open(model, PLAIN) as plain:
        expected = _answers(plain, smollm2)
    with engine.open(model, load_options(smollm2)) as session:
        assert _answers(session, smollm2) == expected


def test_drafted_tokens_take_fewer_evaluations(smollm2: Path, tmp_path: Path) -> None:
    counts = []
    for options in (PLAIN, LOOKUP, _with_draft_model(smollm2)):
        listening = ListenAddress(tmp_path / "s.sock", "key")
        with backend("llama.cpp").open(
            read_gguf(smollm2), replace(options, listening=listening)
        ) as e:
            text = _answer(e, smollm2, COPY)
            counts.append(LlamaServerClient(listening.socket, "key").metrics()["n_decode_total"])
        listening.socket.unlink(missing_ok=True)
    assert "12 oak chairs (item 4471) and 2 tables" in text
    assert counts[1] < counts[0] / 2
    assert counts[2] < counts[0] / 4


def test_a_restored_prefix_gives_the_same_answer(smollm2: Path, tmp_path: Path) -> None:
    """A prefix that was saved without `--lookup` is restored with it."""
    texts = []
    for options in (PLAIN, LOOKUP):
        load = replace(options, states=tmp_path)
        with backend("llama.cpp").open(read_gguf(smollm2), load) as engine:
            ids = tuple(encode([Message("user", COPY)], read_gguf(smollm2), engine.tokenize))
            prefix = Prefix(ids[:64], tmp_path / "prefix.state")
            texts.append(_answer(engine, smollm2, COPY, prefixes=(prefix,)))
    assert (tmp_path / "prefix.state").exists()
    assert texts[0] == texts[1]


def test_lookup_does_not_change_a_copy(run: Run, smollm2: Path) -> None:
    command = ("generate", "-m", smollm2, COPY, "-n", 60, "-t", 1, "--temperature", 0)
    result = run(*command, "--repetition-penalty", 1, "--lookup", "-v")
    assert result.status == 0, result.stderr
    assert "Thank you for your order of 3 March. We have sent 12 oak chairs" in result.stdout
    assert result.stdout == run(*command, "--repetition-penalty", 1).stdout


def test_ctransformers_has_no_speculative_decoding(
    run: Run, smollm2_for_ctransformers: Path
) -> None:
    result = run(
        *("generate", "-m", smollm2_for_ctransformers, "hi", "--engine", "ctransformers"),
        "--lookup",
    )
    assert result.status == 2
    assert not result.stdout
    assert "ctransformers has no speculative decoding" in result.stderr
    assert "drop --lookup" in result.stderr


def test_a_draft_model_needs_the_same_vocabulary(run: Run, smollm2: Path, mistral: Path) -> None:
    command = ("generate", "-m", smollm2, FREE, "-n", 30, "-t", 1, "--temperature", 0)
    result = run(*command, "--draft-model", smollm2, "-v")
    assert result.status == 0, result.stderr
    assert f"the draft model {smollm2} is" in result.stderr
    assert result.stdout == run(*command).stdout
    refused = run(*command, "--draft-model", mistral)
    assert refused.status == 4
    assert "have different vocabularies" in refused.stderr
    assert run(*command, "--draft-model", smollm2, "--lookup").status == 2
    assert run(*command, "--draft-model", "/nowhere.gguf").status == 3
