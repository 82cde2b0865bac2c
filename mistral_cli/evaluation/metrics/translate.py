"""translate: chrF and BLEU as sacrebleu computes them, from the sums of its own statistics."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from mistral_cli.errors import UsageError
from mistral_cli.evaluation.metrics.metric import (
    Figures,
    KnownExample,
    Metric,
    Sums,
    TaskMetrics,
    references,
)

if TYPE_CHECKING:
    from mistral_cli.batch.formats import Record
    from mistral_cli.generation.task import Task

_INSTALL = "pip install 'mistral-cli[evaluate]'"

# BLEU counts words. Its default tokenizer finds none in scripts without spaces: sacrebleu's own
# for Chinese needs nothing else, and those for Japanese and Korean need dictionaries.
_CHINESE = re.compile(r"[\u3400-\u9fff]")
_NO_SPACES = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff]")
_LEAST_SHARE = 0.2  # of the characters, above a quotation or a name


class TranslationMetrics(TaskMetrics):
    """chrF and BLEU, from 0 to 100; several references may be right."""

    names = ("chrf", "bleu")

    def __init__(self) -> None:
        self._signature = ""

    def check(self) -> None:
        """Raise UsageError without sacrebleu."""
        if importlib.util.find_spec("sacrebleu") is None:
            raise UsageError("evaluating translations needs sacrebleu", hint=f"Install: {_INSTALL}")

    def expected(self, value: Any) -> tuple[str, ...]:
        """A translation, or several in a JSON list."""
        return references(value)

    def answer(self, record: Record) -> Any:
        """The translation."""
        return record.get("text")

    def figures(self, examples: Sequence[KnownExample]) -> Figures:
        """Compare the translations of all examples; a row that failed is an empty one."""
        import numpy as np
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF

        texts = [(each.answer or "").strip() for each in examples]
        # sacrebleu takes one list for each place in the lists of references; None is no reference.
        columns = list(zip_longest(*(each.expected for each in examples)))
        made, signatures = list[Metric](), list[str]()
        for name, scorer in (("chrf", CHRF()), ("bleu", BLEU(tokenize=_tokenizer(examples)))):
            statistics = np.array(scorer._extract_corpus_statistics(texts, columns), float)
            made.append(Metric(name, statistics, _score(scorer), best=100.0, decimals=1))
            signatures.append(f"{scorer.__class__.__name__}|{scorer.get_signature()}")
        self._signature = " ".join(signatures)
        return Figures(tuple(made))

    def signature(self) -> str:
        """The signatures of sacrebleu, which say how it was set."""
        return self._signature


def metrics(task: Task) -> TaskMetrics:  # noqa: ARG001
    """The metrics of translate."""
    return TranslationMetrics()


def _score(scorer: Any) -> Any:
    def score(sums: Sums) -> float:
        return float(scorer._compute_score_from_stats([round(each) for each in sums]).score)

    return score


def _tokenizer(examples: Sequence[KnownExample]) -> str:
    """The name of sacrebleu's tokenizer for the script of the references."""
    text = "".join(text for each in examples for text in each.expected)
    if len(_NO_SPACES.findall(text)) > _LEAST_SHARE * len(text):
        return "char"
    return "zh" if len(_CHINESE.findall(text)) > _LEAST_SHARE * len(text) else "13a"
