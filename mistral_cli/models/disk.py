"""Whether the disk has room, before anything is fetched."""

from __future__ import annotations

import shutil
from pathlib import Path

from mistral_cli.errors import ModelNotAvailable


def format_size(size: float) -> str:
    """Bytes for people, in the decimal units that the hub's pages show."""
    for unit in ("B", "kB", "MB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.2f} GB"


def free_space(folder: Path) -> int:
    """Bytes free for this user where `folder` is, or will be made."""
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    return shutil.disk_usage(existing).free


def check_space(name: str, missing: int, folder: Path, variable: str) -> None:
    """Raise ModelNotAvailable where `missing` bytes of `name` do not fit into `folder`.

    `variable` is the one of the environment that names another folder.
    """
    free = free_space(folder)
    if missing > free:
        raise ModelNotAvailable(
            f"{name} needs {format_size(missing)} more in {folder}, "
            f"and {format_size(free)} are free there",
            hint=f"Free some space, or set {variable} to a folder on a larger disk.",
        )
