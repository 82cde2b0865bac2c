"""Sizes in bytes for people, and a check for free disk space before a download."""

from __future__ import annotations

import shutil
from pathlib import Path

from mistral_cli.errors import ModelNotAvailable


def format_size(size: float) -> str:
    """Return a size in bytes for people, in the decimal units that the hub's pages use."""
    for unit in ("B", "kB", "MB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.2f} GB"


def free_space(folder: Path) -> int:
    """Return the free bytes that this user can write in `folder`, which need not exist yet."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return shutil.disk_usage(existing).free


def check_free_space(name: str, missing: int, folder: Path, variable: str) -> None:
    """Raise `ModelNotAvailable` if `folder` has less space than the `missing` bytes of `name`.

    `variable` is the environment variable that selects another folder.
    """
    free = free_space(folder)
    if missing > free:
        raise ModelNotAvailable(
            f"{name} needs {format_size(missing)} more in {folder}, "
            f"but only {format_size(free)} are free",
            hint=f"Free some space, or set {variable} to a folder on a larger disk.",
        )
