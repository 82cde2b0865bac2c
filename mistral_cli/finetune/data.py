"""A CSV or JSONL file → training examples, all checked before anything heavy is imported."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from mistral_cli.errors import UsageError
from mistral_cli.models.chat import Message, Role
from mistral_cli.system.encodings import AUTO, decode, is_utf8
from mistral_cli.texts.inputs import display_name, read_bytes
from mistral_cli.texts.tabular import ParsedRow, parse_jsonl, parse_table

if TYPE_CHECKING:
    from mistral_cli.system.terminal import Terminal

_JSON_SUFFIXES = {".jsonl", ".ndjson"}
_PAIR, _TEXT, _CHAT = ("prompt", "completion"), "text", "messages"
_LISTED = 10
_COLUMNS = "Name the columns prompt and completion, or name one column text."
_KEYS = "Give each line the keys prompt and completion, or text, or messages."

# Transcripts. `###Human: …` is how the tables of autotrain's guides are written, `### Instruction:`
# is Alpaca's form, and the last one is what Llama 2 and Mistral call an instruction.
_HEADINGS = re.compile(
    r"(?:^|(?<=\s))###\s?(?:(?P<user>Human|User|Instruction)"
    r"|(?P<assistant>Assistant|Response|Answer)):?[ \t]*\n?",
    re.IGNORECASE,
)
_INSTRUCTION = re.compile(r"\s*(?:<s>)?\s*\[INST\](.*?)\[/INST\](.*?)(?:</s>)?\s*", re.DOTALL)
_TRANSCRIPTS = "`###Human: … ###Assistant: …` or `<s>[INST] … [/INST] … </s>`"
_NOT_ONE_PAIR = "is not a single question with its answer"


@dataclass(frozen=True)
class Example:
    """The messages of a prompt and the completion to learn; `line` is the row's in the file."""

    line: int
    messages: tuple[Message, ...]
    completion: str


@dataclass(frozen=True)
class TrainingData:
    """The examples of a file.

    Each of its `rows` gives one example, or one for every answer if it is a conversation.
    `unused` are columns that training ignores; `digest` is the SHA-256 of the file, or of its
    text if that is not UTF-8.
    """

    name: str
    examples: tuple[Example, ...]
    rows: int
    unused: tuple[str, ...]
    digest: str


def read_data(path: Path, terminal: Terminal, encoding: str = AUTO) -> TrainingData:
    """Read and check the file at `path`.

    White space around prompts and completions is stripped; the model's own token will end each
    completion. Raises UsageError that lists the rows in error with their line numbers.
    """
    name = display_name(path)
    if not path.is_file():
        raise UsageError(f"{name} is not a file", hint="Give a .csv or .jsonl file.")
    raw = read_bytes(path, terminal)
    text = decode(raw, name, encoding).reported(terminal)
    records, hint = _records(path, name, text)
    examples: list[Example] = []
    problems: list[str] = []
    rows, columns = 0, dict[str, None]()
    for record in records:
        rows += 1
        if isinstance(record.value, UsageError):
            problems.append(record.value.message)
            continue
        columns |= dict.fromkeys(record.value)
        for warning in record.warnings:
            terminal.warn(warning)
        try:
            examples += _examples(record.line, record.value)
        except ValueError as error:
            problems.append(f"{name}:{record.line} {error}")
    if problems:
        raise _unusable_rows(problems, rows, hint)
    if not examples:
        raise UsageError(f"{name} has no rows", hint=hint)
    used = {*_PAIR} if _PAIR[0] in columns else {_TEXT, _CHAT}
    unused = tuple(column for column in columns if column not in used)
    digest = hashlib.sha256(raw if is_utf8(raw) else text.encode()).hexdigest()
    return TrainingData(name, tuple(examples), rows, unused, digest)


def _records(path: Path, name: str, text: str) -> tuple[Iterable[ParsedRow], str]:
    """The rows of the file, and a hint that describes the form they should have."""
    # The suffix decides and not the content: a table can begin with a brace.
    if path.suffix.lower() in _JSON_SUFFIXES:
        return parse_jsonl([text], name), _KEYS
    header, rows = parse_table([text], name)
    if not {*_PAIR} <= {*header} and _TEXT not in header:
        problem = f"has the columns {', '.join(header)}" if header else "is empty"
        raise UsageError(f"{name} {problem}", hint=_COLUMNS)
    return rows, _COLUMNS


def _examples(line: int, row: Mapping[str, Any]) -> Iterator[Example]:
    """Yield the examples in one row. Raises ValueError with what is wrong."""
    if _PAIR[0] in row or _PAIR[1] in row:
        prompt, completion = (_string(row, key) for key in _PAIR)
        yield _example(line, (Message("user", prompt),), completion)
    elif _CHAT in row:
        turns = _conversation(row[_CHAT])
        for index, turn in enumerate(turns):
            if turn.role == "assistant":
                yield _example(line, turns[:index], turn.content)
    elif _TEXT in row:
        prompt, completion = _transcript(_string(row, _TEXT))
        yield _example(line, (Message("user", prompt),), completion)
    else:
        raise ValueError(f"has none of the keys prompt and completion, {_TEXT}, {_CHAT}")


def _string(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise ValueError(f"has no string under {key!r}")
    return value


def _example(line: int, messages: Sequence[Message], completion: str) -> Example:
    stripped = tuple(Message(each.role, each.content.strip()) for each in messages)
    if not all(each.content for each in stripped):
        raise ValueError("has an empty prompt")
    if not completion.strip():
        raise ValueError("has an empty completion")
    return Example(line, stripped, completion.strip())


def _conversation(value: object) -> tuple[Message, ...]:
    """Turns of user and assistant, after an optional system message. Raises ValueError."""
    if not isinstance(value, list) or not all(isinstance(turn, dict) for turn in value):
        raise ValueError("has no list of objects under 'messages'")
    turns = []
    for turn in value:
        role, content = turn.get("role"), turn.get("content")
        if role not in get_args(Role):
            raise ValueError(f"has a message with the unknown role {role!r}")
        if not isinstance(content, str):
            raise ValueError("has a message whose content is not a string")
        turns.append(Message(role, content))
    spoken = [turn.role for turn in turns if turn.role != "system"]
    if any(turn.role == "system" for turn in turns[1:]):
        raise ValueError("has a system message that is not the first message")
    if len(spoken) % 2 or not spoken or spoken != ["user", "assistant"] * (len(spoken) // 2):
        raise ValueError("has messages that do not alternate user, assistant, user, assistant, ...")
    return tuple(turns)


def _transcript(text: str) -> tuple[str, str]:
    """The prompt and the completion in `text`. Raises ValueError if it is not a transcript."""
    if match := _INSTRUCTION.fullmatch(text):
        if "[INST]" in match[1] + match[2] or "[/INST]" in match[2]:
            raise ValueError(_NOT_ONE_PAIR)
        return match[1], match[2]
    headings = list(_HEADINGS.finditer(text))
    speakers = [match.lastgroup for match in headings]
    if not headings or text[: headings[0].start()].strip():
        raise ValueError(f"does not have the form {_TRANSCRIPTS}")
    if speakers != ["user", "assistant"]:
        raise ValueError(_NOT_ONE_PAIR)
    first, second = headings
    return text[first.end() : second.start()], text[second.end() :]


def _unusable_rows(problems: Sequence[str], rows: int, hint: str) -> UsageError:
    if any(_TRANSCRIPTS in problem for problem in problems):
        hint = f"Write {_TRANSCRIPTS} in every row, or make columns prompt and completion."
    if len(problems) == 1:
        return UsageError(problems[0], hint=hint)
    error = UsageError(f"{len(problems)} of {rows} rows cannot be used", hint=hint)
    error.details = list_problems(problems)
    return error


def list_problems(problems: Sequence[str]) -> str:
    """The first problems and the number of others, for an error's details."""
    more = len(problems) - _LISTED
    return "\n  ".join([*problems[:_LISTED], *([f"and {more} more"] if more > 0 else [])])
