"""Where a run puts what it makes: the adapter, and beside it what tells how it came about."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mistral_cli.errors import UsageError
from mistral_cli.system.files import write_atomically

_SUFFIX = ".gguf"
_CHECKPOINT = "checkpoint-"


@dataclass(frozen=True)
class Places:
    """The files of one run, all named after its `adapter`."""

    adapter: Path

    @property
    def folder(self) -> Path:
        """The adapter as PEFT keeps it, and the checkpoints of a run that is not finished."""
        return self.adapter.with_suffix("")

    @property
    def plot(self) -> Path:
        """The curve of the loss."""
        return self.adapter.with_suffix(".png")

    @property
    def log(self) -> Path:
        """What was done, step by step."""
        return self.adapter.with_suffix(".json")

    @property
    def _state(self) -> Path:
        return self.folder / "run.json"

    def open(self, settings: dict[str, Any], *, resume: bool, force: bool) -> dict[str, Any]:
        """Make the folder for a run with these `settings`, and return what `keep` kept of it.

        Raises UsageError where another run's files are in the way, or none can be resumed.
        """
        kept = self._kept()
        if resume:
            self._check_resumable(kept, settings)
            return kept
        if force:
            shutil.rmtree(self.folder, ignore_errors=True)
        elif kept:
            raise UsageError(
                f"{self.folder} holds a run that was interrupted",
                hint="--resume goes on with it, --force begins anew.",
            )
        elif taken := next((p for p in (self.adapter, self.folder) if p.exists()), None):
            raise UsageError(
                f"{taken} is there already", hint="Use another -o, or --force to replace it."
            )
        self._make(settings)
        return {}

    def _make(self, settings: dict[str, Any]) -> None:
        try:
            self.folder.mkdir(parents=True)
            self.keep({"settings": settings})
        except OSError as error:
            hint = "Use -o with a place that can be written to."
            raise UsageError(f"cannot make {self.folder}: {error.strerror}", hint=hint) from error

    def keep(self, state: dict[str, Any]) -> None:
        """Remember `state` for a later run that resumes this one."""
        write_atomically(self._state, json.dumps(state).encode())

    def _kept(self) -> dict[str, Any]:
        try:
            kept: dict[str, Any] = json.loads(self._state.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return kept

    def _check_resumable(self, kept: dict[str, Any], settings: dict[str, Any]) -> None:
        if not kept:
            raise UsageError(
                f"there is no interrupted run in {self.folder}", hint="Leave --resume away."
            )
        before = kept["settings"]
        if changed := [name for name in settings if before.get(name) != settings[name]]:
            name = changed[0]
            raise UsageError(
                f"the interrupted run had another {name}: {before.get(name)}, now {settings[name]}",
                hint="Give the options it was begun with, or begin anew with --force.",
            )

    def checkpoint(self) -> Path | None:
        """The newest checkpoint that was written whole."""
        found = []
        for path in self.folder.glob(f"{_CHECKPOINT}*"):
            try:
                # It is the last file that the trainer writes.
                json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
                found.append((int(path.name.removeprefix(_CHECKPOINT)), path))
            except (OSError, ValueError):
                shutil.rmtree(path, ignore_errors=True)
        return max(found)[1] if found else None

    def finish(self) -> None:
        """Take away what only a resumed run needs."""
        for path in self.folder.glob(f"{_CHECKPOINT}*"):
            shutil.rmtree(path, ignore_errors=True)
        self._state.unlink(missing_ok=True)


def places_of(output: Path | None, data: Path) -> Places:
    """The places for an adapter called `output`, or like the `data`. Raises UsageError."""
    adapter = output or Path(data.with_suffix(_SUFFIX).name)
    if adapter.suffix != _SUFFIX:
        raise UsageError(f"-o {adapter} does not end in {_SUFFIX}", hint=f"Use {adapter}{_SUFFIX}.")
    return Places(adapter)
