"""Rows that are one text: who says what in it."""

from __future__ import annotations

import re

# `###Human: …` is how the tables of autotrain's guides are written, `### Instruction:` is
# Alpaca's, and the last is what Llama 2 and Mistral call an instruction.
_HEADINGS = re.compile(
    r"(?:^|(?<=\s))###\s?(?:(?P<user>Human|User|Instruction)"
    r"|(?P<assistant>Assistant|Response|Answer)):?[ \t]*\n?",
    re.IGNORECASE,
)
_INSTRUCTION = re.compile(r"\s*(?:<s>)?\s*\[INST\](.*?)\[/INST\](.*?)(?:</s>)?\s*", re.DOTALL)

_MORE = "is not one question and its answer"
FORMS = "`###Human: … ###Assistant: …` or `<s>[INST] … [/INST] … </s>`"


def read_transcript(text: str) -> tuple[str, str]:
    """The prompt and the completion in `text`, which has one of `FORMS`.

    Raises ValueError with the reason where it has not.
    """
    if match := _INSTRUCTION.fullmatch(text):
        if "[INST]" in match[1] + match[2] or "[/INST]" in match[2]:
            raise ValueError(_MORE)
        return match[1], match[2]
    headings = list(_HEADINGS.finditer(text))
    speakers = [match.lastgroup for match in headings]
    if not headings or text[: headings[0].start()].strip():
        raise ValueError(f"does not have the form {FORMS}")
    if speakers != ["user", "assistant"]:
        raise ValueError(_MORE)
    first, second = headings
    return text[first.end() : second.start()], text[second.end() :]
