"""The scores of continuations by each engine, beside probabilities from its whole vocabulary."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from support.engine_io import GREEDY, chat, text
from support.program import needs_native

from mistral_cli.engines.ctransformers.engine import CTransformersSession
from mistral_cli.engines.decoding.score import NEGLIGIBLE
from mistral_cli.engines.isolated.session import IsolatedSession, open_in_process
from mistral_cli.engines.llama_cpp.server_session import ServerSession
from mistral_cli.engines.protocol import LoadOptions, Session
from mistral_cli.engines.registry import backend
from mistral_cli.engines.selection import EngineRequirements, select_engine
from mistral_cli.engines.types import PrefillProgress, Prefix, Request, ScoreRequest, Scores
from mistral_cli.errors import EngineFailed, TimedOut
from mistral_cli.models.gguf import read_gguf

pytestmark = pytest.mark.usefixtures("native")

QUESTION = "Which word fits best: bug, bug report, question or praise?\n\nThe menu is broken."
LABELS = ("bug", "bug report", "question", "praise")
ENGINES = ("llama.cpp", "ctransformers", pytest.param("native", marks=needs_native))


@pytest.fixture(scope="module", params=ENGINES)
def engine(
    request: pytest.FixtureRequest, smollm2: Path, smollm2_for_ctransformers: Path
) -> Iterator[Session]:
    path = smollm2_for_ctransformers if request.param == "ctransformers" else smollm2
    options = LoadOptions(512, threads=1)
    with backend(request.param).open(read_gguf(path), options) as session:
        yield session


def request_of(engine: Session, question: str = QUESTION) -> ScoreRequest:
    end = engine._model.eos_id  # type: ignore[attr-defined]
    labels = tuple((*engine.tokenize(label), end) for label in LABELS)
    return ScoreRequest(chat(engine, question), labels)


def scores(engine: Session, request: ScoreRequest) -> Scores:
    last = list(engine.score(request))[-1]
    assert isinstance(last, Scores)
    return last


def reference(engine: Session, prompt: Sequence[int], tokens: Sequence[int]) -> float:
    """The sum of the log-probabilities of `tokens`, from all logits or probabilities."""
    total = 0.0
    for position, token in enumerate(tokens):
        before = (*prompt, *tokens[:position])
        if isinstance(engine, CTransformersSession):
            native = engine._opened()
            native.prefill(prompt, lambda _: True)
            native.evaluate_after(len(prompt), tokens[:position])
            logits = np.asarray(native.logits(), dtype=np.float64)
            total += float(logits[token] - np.log(np.exp(logits).sum()))
        else:
            assert isinstance(engine, ServerSession)
            body = {"prompt": list(before), "n_predict": 1, "n_probs": 49152, "id_slot": 0}
            body["logit_bias"] = [["a", 512]]  # nothing is reported about a part of a character
            reply = engine._client.post("/completion", body)
            (step,) = reply["completion_probabilities"]
            total += next(e["logprob"] for e in step["top_logprobs"] if e["id"] == token)
    return total


def test_scores_are_the_sums_of_log_probabilities(engine: Session) -> None:
    request = request_of(engine)
    result = scores(engine, request)
    expected = [reference(engine, request.prompt_token_ids, each) for each in request.continuations]
    off = result.logprobs[0] - expected[0]  # the same for all of them
    # A prompt that is evaluated in one piece rounds otherwise than token by token.
    assert [each - off for each in result.logprobs] == pytest.approx(expected, abs=0.25)


def test_tokens_that_end_within_a_character_have_scores_too(engine: Session) -> None:
    labels = tuple(tuple(engine.tokenize(label)) for label in ("🐛", "🦋", "错误"))
    assert len(labels[0]) > 1  # a token for a part of the character
    request = ScoreRequest(chat(engine, "Answer with one emoji, and nothing else."), labels)
    result = scores(engine, request)
    expected = [reference(engine, request.prompt_token_ids, each) for each in labels]
    off = max(result.logprobs) - max(expected)
    # Those that are much unlikelier are not read to their end.
    likely = [index for index, each in enumerate(expected) if each > max(expected) + NEGLIGIBLE]
    assert len(likely) > 1
    found = [result.logprobs[index] - off for index in likely]
    assert found == pytest.approx([expected[index] for index in likely], abs=0.25)


def test_the_likeliest_word_of_a_greedy_answer_has_the_best_score(engine: Session) -> None:
    prompt = chat(engine, "Repeat this word: question")
    answer = text(list(engine.stream(Request(prompt, 1, GREEDY)))).strip()
    others = [word for word in ("banana", "seven", "Monday") if word != answer]
    words = tuple(tuple(engine.tokenize(word)) for word in (*others, answer))
    result = scores(engine, ScoreRequest(prompt, words))
    assert max(result.logprobs) == result.logprobs[-1]


def test_an_answer_after_scores_is_the_same(engine: Session) -> None:
    request = Request(chat(engine, "Name a colour."), 8, GREEDY)
    whole = text(list(engine.stream(request)))
    scores(engine, request_of(engine))
    assert text(list(engine.stream(request))) == whole


def test_the_prompt_is_read_once(engine: Session) -> None:
    if not isinstance(engine, ServerSession):
        pytest.skip("the engine counts no tokens")
    request = request_of(engine, "A text about nothing. " * 12 + QUESTION)
    before = engine._client.metrics()["prompt_tokens_total"]
    result = scores(engine, request)
    read = engine._client.metrics()["prompt_tokens_total"] - before
    assert result.passes > 3
    # llama.cpp evaluates the last token again with each request.
    assert read <= len(request.prompt_token_ids) + 2 * result.passes * max(map(len, LABELS))


def test_progress_comes_first_and_scores_last(engine: Session) -> None:
    request = request_of(engine)
    *progress, last = engine.score(request)
    assert isinstance(last, Scores)
    assert progress
    assert all(isinstance(each, PrefillProgress) for each in progress)
    assert progress[-1] in [
        PrefillProgress(len(request.prompt_token_ids), len(request.prompt_token_ids), cached)
        for cached in range(len(request.prompt_token_ids))
    ]


def test_scores_after_a_prefix_are_those_of_the_whole_prompt(engine: Session) -> None:
    request = request_of(engine)
    half = request.prompt_token_ids[:20]
    whole, other = (
        scores(engine, request),
        ScoreRequest(request.prompt_token_ids, request.continuations, (Prefix(half),)),
    )
    assert scores(engine, other).logprobs == pytest.approx(whole.logprobs, abs=0.25)


def test_a_closed_session_is_refused(smollm2: Path) -> None:
    session = backend("llama.cpp").open(read_gguf(smollm2), LoadOptions(64, threads=1))
    session.close()
    with pytest.raises(EngineFailed, match="closed"):
        list(session.score(ScoreRequest((1,), ((2,), (3,)))))


@pytest.fixture(scope="module")
def isolated(smollm2: Path) -> Iterator[IsolatedSession]:
    model = read_gguf(smollm2)
    selection = select_engine(EngineRequirements("llama.cpp"), model)
    with open_in_process(selection, model, LoadOptions(512, threads=1), print) as session:
        yield session


def test_an_isolated_engine_scores(isolated: IsolatedSession) -> None:
    word = tuple(isolated.tokenize("question"))
    prompt = chat(isolated, "Repeat this word: question")
    for other in ("banana", "seven"):
        request = ScoreRequest(prompt, (tuple(isolated.tokenize(other)), word))
        result = scores(isolated, request)
        assert math.exp(result.logprobs[1] - result.logprobs[0]) > 10


def test_an_isolated_engine_has_a_time_limit(isolated: IsolatedSession) -> None:
    prompt = (1, *isolated.tokenize("word " * 400))
    with pytest.raises(TimedOut):
        list(isolated.score(ScoreRequest(prompt, ((300,), (301,))), timeout=0.01))
