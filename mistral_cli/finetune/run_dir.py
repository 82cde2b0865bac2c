"""The files of a run: the adapter and, beside it, its folder, plot and log."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from mistral_cli.errors import MistralCliError, UsageError
from mistral_cli.system.files import TEMPORARY, write_atomically
from mistral_cli.system.strict_json import read_object

_SUFFIX = ".gguf"
_CHECKPOINT = "checkpoint-"


@dataclass(frozen=True)
class RunDirectory:
    """The files of one run, all named after its `adapter`."""

    adapter: Path

    @property
    def folder(self) -> Path:
        """The adapter in PEFT's format, and the checkpoints of an unfinished run."""
        return self.adapter.with_suffix("")

    @property
    def plot(self) -> Path:
        """The loss curve."""
        return self.adapter.with_suffix(".png")

    @property
    def log(self) -> Path:
        """The log of every step."""
        return self.adapter.with_suffix(".json")

    @property
    def written(self) -> tuple[Path, ...]:
        """Everything that the run writes to, and replaces with --force."""
        return self.adapter, self.folder, self.plot, self.log

    @property
    def _state(self) -> Path:
        return self.folder / "run.json"

    def open(self, settings: dict[str, Any], *, resume: bool, force: bool) -> dict[str, Any]:
        """Create the folder for a run with these `settings`, or return a resumed run's state.

        Raises UsageError if files of another run are in the way, or if there is no run to resume.
        """
        state = self._load_state()
        if resume:
            self._check_resumable(state, settings)
            return state
        if force:
            self._remove_folder()
        elif state:
            raise UsageError(
                f"{self.folder} holds an interrupted run",
                hint="Use --resume to continue it, or --force to start over.",
            )
        elif existing := self._existing():
            raise UsageError(
                f"{existing} already exists", hint="Use another -o, or --force to replace it."
            )
        self._create(settings)
        return {}

    def _existing(self) -> Path | None:
        written = (path for path in self.written if path.exists())
        return next((path for path in written if path != self.folder or self._holds_files()), None)

    def _holds_files(self) -> bool:
        """Return whether the folder holds more than a run that was killed at its start leaves."""
        if not self.folder.is_dir():
            return self.folder.exists()
        return any(not fnmatchcase(each.name, TEMPORARY) for each in self.folder.iterdir())

    def _remove_folder(self) -> None:
        """Remove the folder of an earlier run. Raises UsageError if it has files of others."""
        made = (self._state, self.folder / "adapter_config.json")
        if self._holds_files() and not any(each.exists() for each in made):
            raise UsageError(
                f"{self.folder} exists and is not the folder of a run", hint="Use another -o."
            )
        shutil.rmtree(self.folder, ignore_errors=True)

    def _create(self, settings: dict[str, Any]) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for temporary in self.folder.glob(TEMPORARY):
                temporary.unlink(missing_ok=True)
            self.save_state({"settings": settings})
        except OSError as error:
            hint = "Use -o with a path in a writable folder."
            raise MistralCliError(
                f"cannot create {self.folder}: {error.strerror}", hint=hint
            ) from error

    def save_state(self, state: dict[str, Any]) -> None:
        """Save `state` for a later run that resumes this one."""
        write_atomically(self._state, json.dumps(state).encode())

    def _load_state(self) -> dict[str, Any]:
        try:
            state = read_object(self._state.read_bytes())
        except (OSError, ValueError):
            return {}
        return state if isinstance(state.get("settings"), dict) else {}

    def _check_resumable(self, state: dict[str, Any], settings: dict[str, Any]) -> None:
        if not state:
            raise UsageError(f"there is no interrupted run in {self.folder}", hint="Drop --resume.")
        before = state["settings"]
        if changed := [name for name in settings if before.get(name) != settings[name]]:
            name = changed[0]
            raise UsageError(
                f"the interrupted run had another {name}: {before.get(name)}, now {settings[name]}",
                hint="Repeat the options that it began with, or start over with --force.",
            )

    def newest_checkpoint(self) -> Path | None:
        """The newest complete checkpoint; incomplete ones are deleted."""
        complete = []
        for path in self.folder.glob(f"{_CHECKPOINT}*"):
            try:
                # The trainer writes this file last.
                read_object((path / "trainer_state.json").read_bytes())
                complete.append((int(path.name.removeprefix(_CHECKPOINT)), path))
            except (OSError, ValueError):
                shutil.rmtree(path, ignore_errors=True)
        return max(complete)[1] if complete else None

    def finish(self) -> None:
        """Delete what only a resumed run needs."""
        for path in self.folder.glob(f"{_CHECKPOINT}*"):
            shutil.rmtree(path, ignore_errors=True)
        self._state.unlink(missing_ok=True)


def run_directory(output: Path | None, data: Path) -> RunDirectory:
    """The files for the adapter `output`, named after `data` if None. Raises UsageError."""
    adapter = output or Path(data.with_suffix(_SUFFIX).name)
    if adapter.suffix != _SUFFIX:
        raise UsageError(f"-o {adapter} does not end in {_SUFFIX}", hint=f"Use {adapter}{_SUFFIX}.")
    return RunDirectory(adapter)
