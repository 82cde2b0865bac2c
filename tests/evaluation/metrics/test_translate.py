"""chrF and BLEU: equal to sacrebleu's own for all rows, and for a sample of them."""

from __future__ import annotations

import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from mistral_cli.errors import UsageError
from mistral_cli.evaluation.metrics import translate
from mistral_cli.evaluation.metrics.metric import KnownExample
from mistral_cli.evaluation.metrics.translate import TranslationMetrics

ANSWERS = [
    "The cat sleeps on the sofa.",
    "Hello, how are you today?",
    "The train leaves at half past nine.",
    "I would like a coffee, please.",
    "",
]
REFERENCES = [
    ("The cat is sleeping on the sofa.",),
    ("Hello, how are you?", "Good day, how are you today?"),
    ("The train departs at 9:30.", "The train leaves at half past nine o'clock."),
    ("I'd like a coffee, please.",),
    ("Good night.",),
]


def examples(places: list[int]) -> list[KnownExample]:
    return [KnownExample(REFERENCES[place], ANSWERS[place] or None, {}) for place in places]


@pytest.mark.parametrize("places", [[0, 1, 2, 3, 4], [0, 3, 4], [2, 2, 1], [4]])
def test_the_figures_equal_sacrebleu(places: list[int]) -> None:
    chrf, bleu = TranslationMetrics().figures(examples(places)).metrics
    texts = [ANSWERS[place] for place in places]
    most = max(len(REFERENCES[place]) for place in places)
    columns = [
        [dict(enumerate(REFERENCES[place])).get(number) for place in places]
        for number in range(most)
    ]
    assert chrf.value == pytest.approx(CHRF().corpus_score(texts, columns).score)
    assert bleu.value == pytest.approx(BLEU().corpus_score(texts, columns).score)


def test_a_figure_from_sums_equals_sacrebleu_for_those_rows() -> None:
    """What the bootstrap relies on: the sums of a sample give the figure of the sample."""
    whole = TranslationMetrics().figures(examples([0, 1, 2, 3, 4])).metrics
    sample = TranslationMetrics().figures(examples([0, 0, 2])).metrics
    for metric, expected in zip(whole, sample, strict=True):
        sums = (2 * metric.statistics[0] + metric.statistics[2]).tolist()
        assert metric.score(sums) == pytest.approx(expected.value)


@pytest.mark.parametrize(
    ("reference", "tokenizer"),
    [
        ("他每天早上喝一杯咖啡。", "zh"),
        ("彼は毎朝コーヒーを飲みます。", "char"),
        ("เขาดื่มกาแฟทุกเช้า", "char"),
        ("그는 매일 아침 커피를 마신다.", "13a"),
        ("He likes 寿司 very much, every day.", "13a"),
    ],
)
def test_bleu_counts_what_are_words_in_the_script(reference: str, tokenizer: str) -> None:
    metrics = TranslationMetrics()
    metrics.figures([KnownExample((reference,), reference, {})])
    assert f"tok:{tokenizer}|" in metrics.signature()
    assert metrics.signature().startswith("CHRF|")


def test_several_references_are_a_json_list() -> None:
    expected = TranslationMetrics().expected
    assert expected("Hello.") == expected(["Hello."]) == ("Hello.",)
    assert expected('["Hello.", "Hi."]') == ("Hello.", "Hi.")
    assert expected("[sic] Hello.") == ("[sic] Hello.",)
    for wrong in ([], ["", "a"], 3, {"a": 1}):
        with pytest.raises(ValueError, match="must be"):
            expected(wrong)


def test_without_sacrebleu_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    TranslationMetrics().check()
    monkeypatch.setattr(translate.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UsageError) as error:
        TranslationMetrics().check()
    assert "pip install 'mistral-cli[evaluate]'" in error.value.hint
