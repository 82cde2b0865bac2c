"""Bring files of our own to the model hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.errors import UsageError
from mistral_cli.models.hub.calls import seam

if TYPE_CHECKING:
    from mistral_cli.system.reporter import Reporter


def upload(files: Mapping[str, Path | bytes], repo: str, message: str, reporter: Reporter) -> str:
    """Commit `files`, by their names there, to `repo`, and return its address.

    A repository that is not there yet is made, private. Raises ModelNotAvailable where the
    hub cannot be reached or refuses, UsageError for a name that no repository can have.
    """
    if repo.count("/") != 1:
        raise UsageError(f"{repo!r} is not a repository name", hint="Write it as owner/name.")
    reporter.status(f"uploading to {repo}")
    try:
        with seam(repo, "", None, reporter):
            from huggingface_hub import CommitOperationAdd, HfApi
            from huggingface_hub.utils.tqdm import disable_progress_bars

            disable_progress_bars()
            api = HfApi()
            url = api.create_repo(repo, private=True, exist_ok=True)
            parts = [
                CommitOperationAdd(name, content if isinstance(content, bytes) else str(content))
                for name, content in files.items()
            ]
            api.create_commit(repo, parts, commit_message=message)
    finally:
        reporter.clear_status()
    return str(url)
