"""Answer a prompt; text from a file or a pipe follows it."""

from __future__ import annotations

from mistral_cli.generation.checking.options import CheckOptions, PreambleOption
from mistral_cli.generation.task import Task


def generate(preamble: PreambleOption = None) -> Task:
    """Answer a prompt; text from a file or a pipe follows it."""
    return Task("generate", checks=CheckOptions(preamble=preamble), one_argument=True)
