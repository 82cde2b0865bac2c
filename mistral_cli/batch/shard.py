"""`--shard K/N`: the K-th of N shares of the rows of a batch, the same in each run."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from mistral_cli.errors import UsageError

if TYPE_CHECKING:
    from mistral_cli.batch.input.rows import Row

_FORM = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")


@dataclass(frozen=True)
class Shard:
    """The share `number` of `count`, counted from 1.

    A row's share follows from what stays the same when other rows are added or the files move: its
    own id if it has one, the path below the folder that was named if it is a whole file, and else
    its text and columns.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the shard that `text` names, such as "2/8". Raises UsageError."""
        found = _FORM.fullmatch(text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise UsageError(
                f"--shard cannot be {text!r}",
                hint="Write K/N, such as 2/8 for the second of eight shares.",
            )
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def has(self, row: Row) -> bool:
        """Whether the row belongs to this share."""
        digest = hashlib.blake2b(_stable_name(row), digest_size=8).digest()
        return int.from_bytes(digest) % self.count == self.number - 1


def _stable_name(row: Row) -> bytes:
    if row.relative is not None:
        name = row.relative.as_posix()
    elif row.id != row.source:
        name = row.id
    else:
        messages = [(message.role, message.content) for message in row.conversation]
        name = json.dumps([row.text, dict(row.columns), messages], ensure_ascii=False)
    return name.encode("utf-8", "surrogatepass")
