"""Measure the checks of facts: planted errors that they find, true answers that they doubt."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from support.checked_pairs import KINDS, Figures, judge, read_pairs

from mistral_cli.checks.facts.compare import check_facts

PAIRS = Path(__file__).parents[2] / "tests" / "checks" / "facts" / "pairs"
TEXT_SIZE = 100_000
ANSWER_SIZE = 2_000


def main() -> None:
    """Print the figures of the pairs, by language, and the time for a long text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--named", action="store_true", help="name the languages to the checks")
    parser.add_argument("-v", action="store_true", help="list what was missed and doubted")
    args = parser.parse_args()
    for title, folder in (("written first", PAIRS), ("held back at first", PAIRS / "held_back")):
        print(f"\n{title}:\n")
        total = Figures()
        by_language: dict[str, Figures] = {}
        for pair in read_pairs(folder):
            key = "translation" if pair.mode == "translation" else pair.language
            for figures in (total, by_language.setdefault(key, Figures())):
                judge(pair, figures, named=args.named)
        _show({**by_language, "all": total})
        if args.v:
            print("", *total.complaints, sep="\n")
    _show_time()


def _show(rows: dict[str, Figures]) -> None:
    """Print a Markdown table."""
    titles = ("language", "true answers", "doubted", "planted", "found", "other findings", *KINDS)
    print("|", " | ".join(titles), "|")
    print("|", " | ".join("---" for _ in titles), "|")
    for title, each in rows.items():
        planted, found = each.planted.total(), each.found.total()
        share = f" ({100 * found / planted:.1f} %)" if planted else ""
        cells = [title, each.true, each.doubted, planted, f"{found}{share}", each.strays]
        cells += [f"{each.found[kind]}/{each.planted[kind]}" for kind in KINDS]
        print("|", " | ".join(map(str, cells)), "|")


def _show_time() -> None:
    """Print the processor time of a check of a long text, of prose and of a table of numbers."""
    pairs = [pair for pair in read_pairs(PAIRS) if pair.language == "en" and pair.mode == "summary"]
    texts = "\n\n".join(dict.fromkeys(pair.source for pair in pairs))
    answer = "\n".join(pair.answer for pair in pairs)[:ANSWER_SIZE]
    docs = sorted((PAIRS.parents[3] / "docs").rglob("*.md"))
    prose = "\n".join(path.read_text(encoding="utf-8") for path in docs)
    table = "".join(
        f"{number},{number * 7 % 99991}.{number % 90 + 10}\n" for number in range(9_999)
    )
    print("\n| 100 kB of | first answer | next answer |\n| --- | --- | --- |")
    for title, text in (("the pairs' texts", texts), ("these docs", prose), ("a table", table)):
        source = (text * (TEXT_SIZE // len(text) + 1))[:TEXT_SIZE]
        check_facts(source, answer, mode="summary")
        first, following = [], []
        for run in range(1, 6):
            new = source + " " * run  # what was read of a text is kept for the next answers
            for times in (first, following):
                started = time.process_time()
                check_facts(new, answer, mode="summary")
                times.append(time.process_time() - started)
        print(f"| {title} | {1000 * min(first):.0f} ms | {1000 * min(following):.0f} ms |")


if __name__ == "__main__":
    main()
