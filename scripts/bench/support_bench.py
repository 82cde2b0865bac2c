"""Measure the score of support: of true summaries, of other texts' summaries, of inventions."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from support.supported_pairs import Case, invented_cases, other_cases, true_cases

from mistral_cli.checks.support.citations import find_citations
from mistral_cli.texts.inputs import text_from_bytes

DOCS = Path(__file__).parents[2] / "docs"
THRESHOLDS = (0.3, 0.35, 0.4, 0.45, 0.5)
TEXT_SIZE, SENTENCES = 1_000_000, 10


def main() -> None:
    """Print the distributions, what each threshold would do, and the time for a long text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--results",
        type=Path,
        metavar="FILE",
        help="also the summaries in the results of a batch whose ids are files",
    )
    args = parser.parse_args()
    rows = {
        "true summary": scores(true_cases()),
        "summary of another text": scores(other_cases()),
        "invented": scores(invented_cases()),
        "true summary, unseen": scores(true_cases(later=True)),
        "summary of another text, unseen": scores(other_cases(later=True)),
    }
    if args.results:
        own, other = _cases_of_results(args.results)
        rows |= {"the model's, own text": scores(own), "the model's, other texts": scores(other)}
    _show(rows)
    _show_time()


def scores(cases: Iterable[Case]) -> list[float]:
    """The scores of all sentences."""
    return [each.score for case in cases for each in find_citations(case.text, case.answer)]


def _cases_of_results(path: Path) -> tuple[list[Case], list[Case]]:
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    answers = {record["id"]: record["text"] for record in records if record.get("text")}
    texts = {name: text_from_bytes(Path(name).read_bytes(), name, "auto").text for name in answers}
    own = [Case(texts[name], answers[name]) for name in answers]
    other = [
        Case("\n\n".join(text for each, text in texts.items() if each != name), answers[name])
        for name in answers
    ]
    return own, other


def _show(rows: dict[str, list[float]]) -> None:
    """Print a table of the scores in tenths, and of the shares from each threshold on."""
    _print_row("sentences", "number", *(f"{n / 10:.1f}" for n in range(10)))
    _print_row(*["---"] * 12)
    for title, found in rows.items():
        tenths = [min(int(score * 10), 9) for score in found]
        _print_row(title, len(found), *(tenths.count(n) for n in range(10)))
    print()
    _print_row("score at least", *THRESHOLDS)
    _print_row(*["---"] * (len(THRESHOLDS) + 1))
    for title, found in rows.items():
        _print_row(title, *_shares(found))


def _shares(found: list[float]) -> Iterator[str]:
    for threshold in THRESHOLDS:
        yield f"{100 * sum(score >= threshold for score in found) / len(found):.1f} %"


def _print_row(*cells: object) -> None:
    print("|", " | ".join(map(str, cells)), "|")


def _show_time() -> None:
    """Print the processor time for the citations of ten sentences in a text of a megabyte."""
    prose = "\n\n".join(path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md")))
    sentences = [line for line in prose.splitlines() if line.endswith(".") and "|" not in line]
    answer = "\n".join(sentences[:: len(sentences) // SENTENCES][:SENTENCES])
    times = []
    for number in range(5):
        # Another text each time, so that nothing is taken from a cache.
        text = (f"{number}\n\n" + prose * (TEXT_SIZE // len(prose) + 1))[:TEXT_SIZE]
        started = time.process_time()
        find_citations(text, answer)
        times.append(time.process_time() - started)
    print(f"\n1 MB of these docs, 10 sentences: {min(times):.2f} s of processor time")


if __name__ == "__main__":
    main()
