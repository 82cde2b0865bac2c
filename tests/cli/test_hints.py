"""Hints name options and commands that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import mistral_cli

_PACKAGE = Path(mistral_cli.__file__).parent
_REFERENCE = _PACKAGE.parent / "docs" / "reference" / "commands.md"
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
_COMMAND = re.compile(r"mistral-cli((?: [a-z][a-z-]+)*)")

# Options of other programs that hints name.
_OTHERS = {"--decrypt", "--convert-to", "--hash", "--head"}


def _hints() -> Iterator[tuple[str, str]]:
    """Every literal text that is, or is named, a hint, with its place."""
    for path in sorted(_PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            values: list[ast.expr] = []
            if isinstance(node, ast.Call):
                values = [each.value for each in node.keywords if each.arg == "hint"]
            elif isinstance(node, ast.Assign):
                names = [each.id for each in node.targets if isinstance(each, ast.Name)]
                if any("hint" in name.lower() or name in _NAMES for name in names):
                    values = [node.value]
            for value in values:
                literals = [n.value for n in ast.walk(value) if isinstance(n, ast.Constant)]
                text = "".join(each for each in literals if isinstance(each, str))
                yield f"{path.relative_to(_PACKAGE)}:{node.lineno}", text


_NAMES = {"DAMAGED", "CONVERT", "ANOTHER", "FORMS", "EXPLANATIONS", "_DROP_IT", "_HOW_TO", "_KINDS"}


def test_what_a_hint_names_exists() -> None:
    reference = _REFERENCE.read_text(encoding="utf-8")
    options = set(_OPTION.findall(reference)) | _OTHERS
    commands = set(re.findall(r"^#+ `?mistral-cli ([a-z -]+?)`?$", reference, re.MULTILINE))
    hints = list(_hints())
    assert len(hints) > 200
    for place, hint in hints:
        assert set(_OPTION.findall(hint)) <= options, place
        for match in _COMMAND.finditer(hint):
            words = match[1].split()
            is_group = any(each.startswith(f"{' '.join(words[:1])} ") for each in commands)
            known = not words or " ".join(words[: 2 if is_group else 1]) in commands
            assert known, (place, match[0])
