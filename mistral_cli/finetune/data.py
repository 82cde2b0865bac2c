"""A CSV or JSONL file → examples, all checked, before anything heavy is imported."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from mistral_cli.errors import UsageError
from mistral_cli.finetune.transcripts import FORMS, read_transcript
from mistral_cli.models.chat.messages import Message, Role
from mistral_cli.texts.read import decode, name_of, read_bytes
from mistral_cli.texts.records import Record, json_records, read_table

if TYPE_CHECKING:
    from mistral_cli.system.terminal import Terminal

_JSON_SUFFIXES = {".jsonl", ".ndjson"}
_PAIR, _TEXT, _CHAT = ("prompt", "completion"), "text", "messages"
_LISTED = 10
COLUMNS = "Name the columns prompt and completion, or one column text."
KEYS = "Give each line the keys prompt and completion, or text, or messages."


@dataclass(frozen=True)
class Example:
    """What the model is asked, and what it shall answer; `line` is that of its row in the file."""

    line: int
    messages: tuple[Message, ...]
    completion: str


@dataclass(frozen=True)
class Data:
    """The examples of a file. `rows` have one each, conversations one for every answer.

    `unused` are columns that nobody reads, `digest` is the SHA-256 of the file.
    """

    name: str
    examples: tuple[Example, ...]
    rows: int
    unused: tuple[str, ...]
    digest: str


def read_data(path: Path, terminal: Terminal) -> Data:
    """Read and check the file at `path`.

    White space around prompts and completions is taken away; a completion is ended by the
    model's own token. Raises UsageError that lists what is wrong, with line numbers.
    """
    name = name_of(path)
    if not path.is_file():
        raise UsageError(f"{name} is no file", hint="Give a .csv or a .jsonl.")
    raw = read_bytes(path, terminal)
    text = decode(raw, name, terminal)
    records, hint = _records(path, name, text)
    examples: list[Example] = []
    problems: list[str] = []
    rows, names = 0, dict[str, None]()
    for record in records:
        rows += 1
        if isinstance(record.value, UsageError):
            problems.append(record.value.message)
            continue
        names |= dict.fromkeys(record.value)
        try:
            examples += _examples(record.line, record.value)
        except ValueError as error:
            problems.append(f"{name}:{record.line} {error}")
    if problems:
        raise _wrong(problems, rows, hint)
    if not examples:
        raise UsageError(f"{name} has no rows", hint=hint)
    used = {*_PAIR} if _PAIR[0] in names else {_TEXT, _CHAT}
    unused = tuple(column for column in names if column not in used)
    return Data(name, tuple(examples), rows, unused, hashlib.sha256(raw).hexdigest())


def _records(path: Path, name: str, text: str) -> tuple[Iterable[Record], str]:
    """The rows of the file, and how they should look."""
    # Not by its content: a table can begin with a brace.
    if path.suffix.lower() in _JSON_SUFFIXES:
        return json_records(text, name), KEYS
    header, rows = read_table(text, name)
    if not {*_PAIR} <= {*header} and _TEXT not in header:
        found = f"has the columns {', '.join(header)}" if header else "is empty"
        raise UsageError(f"{name} {found}", hint=COLUMNS)
    return rows, COLUMNS


def _examples(line: int, row: Mapping[str, Any]) -> Iterator[Example]:
    """The examples in one row. Raises ValueError with what is wrong."""
    if _PAIR[0] in row or _PAIR[1] in row:
        prompt, completion = (_text_of(row, key) for key in _PAIR)
        yield _example(line, (Message("user", prompt),), completion)
    elif _CHAT in row:
        turns = _conversation(row[_CHAT])
        for index, turn in enumerate(turns):
            if turn.role == "assistant":
                yield _example(line, turns[:index], turn.content)
    elif _TEXT in row:
        prompt, completion = read_transcript(_text_of(row, _TEXT))
        yield _example(line, (Message("user", prompt),), completion)
    else:
        raise ValueError(f"has none of the keys prompt and completion, {_TEXT}, {_CHAT}")


def _text_of(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise ValueError(f"has no text in {key!r}")
    return value


def _example(line: int, messages: Sequence[Message], completion: str) -> Example:
    stripped = tuple(Message(each.role, each.content.strip()) for each in messages)
    if not all(each.content for each in stripped):
        raise ValueError("has an empty prompt")
    if not completion.strip():
        raise ValueError("has an empty completion")
    return Example(line, stripped, completion.strip())


def _conversation(value: object) -> tuple[Message, ...]:
    """Turns of user and assistant after an optional system text. Raises ValueError."""
    if not isinstance(value, list) or not all(isinstance(turn, dict) for turn in value):
        raise ValueError("has 'messages' that are no list of objects")
    turns = []
    for turn in value:
        role, content = turn.get("role"), turn.get("content")
        if role not in get_args(Role) or not isinstance(content, str):
            raise ValueError(f"has a message with the role {role!r} or without a text as content")
        turns.append(Message(role, content))
    spoken = [turn.role for turn in turns if turn.role != "system"]
    if any(turn.role == "system" for turn in turns[1:]):
        raise ValueError("has a system message after another")
    if len(spoken) % 2 or not spoken or spoken != ["user", "assistant"] * (len(spoken) // 2):
        raise ValueError("has messages that do not go user, assistant, user, assistant, ...")
    return tuple(turns)


def _wrong(problems: Sequence[str], rows: int, hint: str) -> UsageError:
    count = f"{len(problems)} of {rows} rows cannot be used"
    error = UsageError(f"{problems[0]}" if len(problems) == 1 else count, hint=hint)
    if any(FORMS in problem for problem in problems):
        error.hint = f"Write {FORMS} in every row, or make columns prompt and completion."
    if len(problems) > 1:
        error.details = listed(problems)
    return error


def listed(problems: Sequence[str]) -> str:
    """The first of them, for an error's details, and how many more there are."""
    more = len(problems) - _LISTED
    return "\n  ".join([*problems[:_LISTED], *([f"and {more} more"] if more > 0 else [])])
