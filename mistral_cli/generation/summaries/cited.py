"""An answer with citations: the check of its support, its marks and footnotes, its JSON fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mistral_cli.generation.checking.rules import Rule

if TYPE_CHECKING:
    from mistral_cli.checks.check import Check
    from mistral_cli.checks.support.citations import Citation
    from mistral_cli.generation.answer import Answer, Result
    from mistral_cli.generation.checking.rules import Reaction
    from mistral_cli.generation.writers import ResultWriter

_CHECK = "support"
_LONGEST_FOOTNOTE = 200  # characters of a sentence; JSON has all of it
_OTHER_LANGUAGE = (
    "the answer is in another language than the text: its sentences are not checked for support, "
    "and sources are found by names and numbers only"
)


def support_rule(text: str, reaction: Reaction) -> Rule:
    """The rule that a sentence of `text` supports each sentence of the answer."""

    def run(answer: Answer) -> Iterator[Check]:
        from mistral_cli.checks.support.citations import check_support, find_citations

        if check := check_support(answer.text, find_citations(text, answer.text)):
            yield check

    return Rule((_CHECK,), run, reaction, holds=reaction == "fail")


def with_citations(result: Result, text: str, writer: ResultWriter) -> Result:
    """`result` with the citations of its answer in `text`; writes the answer with footnotes."""
    from mistral_cli.checks.support.citations import find_citations

    citations = find_citations(text, result.answer.text)
    writer.delta(with_footnotes(result.answer.text, citations))
    unknown = any(each.supported is None for each in citations)
    warnings = (*result.warnings, *((_OTHER_LANGUAGE,) if unknown else ()))
    return replace(result, citations=citations, warnings=warnings)


def with_footnotes(answer: str, citations: Sequence[Citation]) -> str:
    """The answer with a mark behind each sentence, and the sentences that are cited below it.

    The mark of a sentence without support is `[?]`.
    """
    marked, end = list[str](), 0
    for each in citations:
        marked += [answer[end : each.end], _marks(answer[: each.end], each)]
        end = each.end
    marked.append(answer[end:])
    sources = {source.number: source.text for each in citations for source in each.sources}
    notes = [f"[{number}] {_shortened(sources[number])}" for number in sorted(sources)]
    return "\n\n".join(filter(None, ("".join(marked).rstrip(), "\n".join(notes))))


def _marks(before: str, citation: Citation) -> str:
    if citation.supported is False:
        marks = "[?]"
    else:
        marks = "".join(f"[{source.number}]" for source in citation.sources)
    blank = "" if before.endswith(("\u3002", "\uff01", "\uff1f")) else " "
    return f"{blank}{marks}" if marks else ""


def _shortened(sentence: str) -> str:
    line = " ".join(sentence.split())
    return line if len(line) <= _LONGEST_FOOTNOTE else f"{line[: _LONGEST_FOOTNOTE - 2].rstrip()} …"


def cited_text(record: Mapping[str, Any]) -> str | None:
    """The text of a result line as `with_footnotes` writes it, if the line has citations.

    People edit results files: citations that are not valid are left out.
    """
    from mistral_cli.checks.support.citations import Citation, Source

    text, fields = record.get("text"), record.get("citations")
    if not isinstance(text, str) or not isinstance(fields, list):
        return text if text is None else str(text)
    try:
        citations = [
            Citation(
                int(each["start"]),
                int(each["end"]),
                float(each["score"]),
                each["supported"],
                tuple(
                    Source(int(s["number"]), int(s["start"]), int(s["end"]), str(s["text"]))
                    for s in each["sources"]
                ),
            )
            for each in fields
        ]
    except (KeyError, TypeError, ValueError):
        return text
    return with_footnotes(text, citations)


def citation_fields(citations: Sequence[Citation], stripped: int = 0) -> list[dict[str, Any]]:
    """The fields of citations in `--json` and in result lines.

    So many characters were `stripped` from the beginning of the answer after they were found.
    """
    return [
        {
            "start": max(each.start - stripped, 0),
            "end": max(each.end - stripped, 0),
            "score": each.score,
            "supported": each.supported,
            "sources": [
                {
                    "number": source.number,
                    "start": source.start,
                    "end": source.end,
                    "text": source.text,
                }
                for source in each.sources
            ],
        }
        for each in citations
    ]
