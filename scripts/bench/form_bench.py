"""Measure the counting of sentences, and the check of the language, on public texts in folders.

Nothing is downloaded. The folders may have treebanks of Universal Dependencies (*.conllu), whose
names begin with the language ("de_gsd-ud-test.conllu"), and the tests of pragmatic_segmenter
(*_spec.rb), whose Golden Rules are counted apart. The rules may be tuned on half of the treebanks'
texts; the other half is held out. The libraries that are installed are measured too: pysbd,
blingfire, syntok, nupunkt.
"""

from __future__ import annotations

import argparse
import random
import re
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import sentencex

from mistral_cli.checks.language import check_language
from mistral_cli.texts.sentences import Sentences

TOGETHER = 3  # sentences of a treebank that make up a text
TEXTS = 250  # of a treebank
OTHERS = 100  # sentences of each language that are checked against every other language

_RUBY_TEXT = r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\''
_TEST = re.compile(r'^ {4}it ["\'].*?["\'] do(.*?)^ {4}end', re.MULTILINE | re.DOTALL)
_LANGUAGE = re.compile(r"language: ['\"](\w+)['\"]")
_ENDED = re.compile(r"[.!?\u2026\u3002\uff01\uff1f\u0964][\"'\u201d\u2019\u00bb\u201c)]*\Z")


@dataclass(frozen=True)
class Case:
    """A text, its language, and how many sentences it has."""

    kind: str
    language: str
    text: str
    number: int


def main() -> None:
    """Print how many texts are counted right, and how many sentences pass for their language."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument(
        "-v", action="store_true", help="list the texts that no reading counts right"
    )
    args = parser.parse_args()
    files = [file for folder in args.folders for file in sorted(folder.rglob("*"))]
    treebanks = [file for file in files if file.suffix == ".conllu"]
    cases = [case for file in files if file.name.endswith("_spec.rb") for case in _ruby(file)]
    cases += [case for file in treebanks for case in _treebank(file)]
    _show_sentences(cases, verbose=args.v)
    if treebanks:
        _show_languages({file.name[:2]: _sentences(file) for file in treebanks})


def _ruby(file: Path) -> Iterator[Case]:
    """The tests of a file of pragmatic_segmenter that change nothing else in the text."""
    source = file.read_text(encoding="utf-8")
    golden = source.find("Golden Rules"), source.find("\n  end", source.find("Golden Rules"))
    for test in _TEST.finditer(source):
        text = re.search(rf"text:\s*({_RUBY_TEXT})", test[1])
        parts = re.search(rf"eq\(\[((?:\s*(?:{_RUBY_TEXT})\s*,?)*)\s*\]\)", test[1])
        language = _LANGUAGE.search(test[1])
        if text and parts and "doc_type" not in test[1]:
            is_golden = golden[0] < test.start() < golden[1] and "english" in file.name
            kind = "Golden Rules" if is_golden else "pragmatic_segmenter"
            number = len(re.findall(_RUBY_TEXT, parts[1]))
            yield Case(kind, language[1] if language else "en", _unquoted(text[1]), number)


def _unquoted(text: str) -> str:
    """What a string of Ruby means."""
    if text[0] == "'":
        return re.sub(r"\\(['\\])", r"\1", text[1:-1])
    text = re.sub(r"\\u\{?([0-9a-fA-F]{4})\}?", lambda m: chr(int(m[1], 16)), text[1:-1])
    controls = {"n": "\n", "t": "\t", "r": "\r", "f": "\f"}
    return re.sub(r"\\(.)", lambda m: controls.get(m[1], m[1]), text, flags=re.DOTALL)


def _sentences(file: Path) -> list[str]:
    source = file.read_text(encoding="utf-8")
    return [text.strip() for text in re.findall(r"^# text = (.*)$", source, re.MULTILINE)]


def _treebank(file: Path) -> Iterator[Case]:
    """Texts of successive sentences that begin and end like sentences."""
    sentences, language = _sentences(file), file.name[:2]
    starts = [*range(0, len(sentences) - TOGETHER, TOGETHER)]
    random.Random(5).shuffle(starts)
    groups = (sentences[start : start + TOGETHER] for start in starts)
    whole = [each for each in groups if all(_ENDED.search(s) and not s[0].islower() for s in each)]
    between = "" if language in ("zh", "ja") else " "
    for group in whole[:TEXTS]:
        text = between.join(group)
        half = "tuned on" if zlib.crc32(text.encode()) % 2 == 0 else "held out"
        yield Case(f"treebanks, {half}", {"no": "nb"}.get(language, language), text, TOGETHER)


def _counters() -> dict[str, Callable[[str, str], int]]:
    """Functions that count the sentences of a text in a language, by the name of the library."""

    def number(sentences: Iterable[str]) -> int:
        return len([*filter(str.strip, sentences)])

    counters = {
        "ours": lambda text, language: Sentences.of(text, language).count,
        "sentencex": lambda text, language: number(sentencex.segment(language, text)),
    }
    with suppress(ImportError):
        import pysbd

        def by_pysbd(text: str, language: str) -> int:
            code = language if language in pysbd.languages.LANGUAGE_CODES else "en"
            return number(pysbd.Segmenter(language=code, clean=False).segment(text))

        counters["pysbd"] = by_pysbd
    with suppress(ImportError):
        import blingfire

        counters["blingfire"] = lambda text, _: number(
            blingfire.text_to_sentences(text).split("\n")
        )
    with suppress(ImportError):
        from syntok import segmenter

        counters["syntok"] = lambda text, _: sum(map(len, map(list, segmenter.analyze(text))))
    with suppress(ImportError):
        import nupunkt

        counters["nupunkt"] = lambda text, _: number(nupunkt.sent_tokenize(text))
    return counters


def _show_sentences(cases: list[Case], *, verbose: bool) -> None:
    counters = _counters()
    total, results = Counter[tuple[str, str]](), Counter[tuple[str, str, str]]()
    seconds, wrong = Counter[str](), []
    for case in cases:
        possible = Sentences.of(case.text, case.language).possible
        right = {"in some reading": case.number in possible}
        for name, count in counters.items():
            started = time.process_time()
            right[name] = count(case.text, case.language) == case.number
            seconds[name] += time.process_time() - started
        for language in (case.language, "all"):
            total[case.kind, language] += 1
            results.update({(case.kind, language, name): each for name, each in right.items()})
        if not right["in some reading"]:
            wrong.append(f"{case.language}: not {case.number}: {case.text!r}")
    print("| texts | language | number |", " | ".join(right), "|")
    print("|---|---|---|", "---|" * len(right), sep="")
    for key in sorted(total):
        shares = (f"{results[*key, name] / total[key]:.1%}" for name in right)
        print(f"| {' | '.join(key)} | {total[key]} |", " | ".join(shares), "|")
    milliseconds = (f"{1000 * seconds[name] / len(cases):.2f}" for name in counters)
    print("| ms of CPU for a text | all |", len(cases), "| |", " | ".join(milliseconds), "|")
    if verbose:
        print("", *wrong, sep="\n")


def _show_languages(sentences: dict[str, list[str]]) -> None:
    own, others = Counter[str](), Counter[str]()
    for language, texts in sentences.items():
        own.update(_verdict(text, language) for text in texts)
        sample = random.Random(3).sample(texts, min(OTHERS, len(texts)))
        for other in sentences.keys() - {language}:
            others.update(_verdict(text, other) for text in sample)
    print("\n| sentences checked against | number | pass | fail | cannot be told |")
    print("|---|---|---|---|---|")
    for title, verdicts in (("their own language", own), ("every other language", others)):
        counts = (verdicts[name] for name in ("pass", "fail", "unknown"))
        print(f"| {title} | {verdicts.total()} |", " | ".join(map(str, counts)), "|")


def _verdict(text: str, language: str) -> str:
    check = check_language(text, language)
    return "unknown" if check is None else "pass" if check.ok else "fail"


if __name__ == "__main__":
    main()
