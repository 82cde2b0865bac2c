"""Answer a prompt; text from a file or a pipe follows it."""

from __future__ import annotations

from mistral_cli.generation.task import Task


def generate() -> Task:
    """Answer a prompt; text from a file or a pipe follows it."""
    return Task("generate", one_argument=True)
