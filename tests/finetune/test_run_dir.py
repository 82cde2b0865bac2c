"""The files of a run: what is created, refused, resumed and deleted."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from mistral_cli.errors import MistralCliError, UsageError
from mistral_cli.finetune.run_dir import RunDirectory, run_directory
from mistral_cli.finetune.strategy import MemoryStrategy, saved_strategy

SETTINGS = {"rank": 16, "seed": 0}


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "a.gguf")


def write_checkpoint(directory: RunDirectory, step: int, *, complete: bool = True) -> Path:
    folder = directory.folder / f"checkpoint-{step}"
    folder.mkdir()
    state = "{}" if complete else "{"
    (folder / "trainer_state.json").write_text(state, encoding="utf-8")
    return folder


def test_the_files_are_named_after_the_adapter() -> None:
    directory = run_directory(None, Path("data/few.csv"))
    assert directory.adapter == Path("few.gguf")
    assert directory.folder == Path("few")
    assert directory.plot == Path("few.png")
    assert directory.log == Path("few.json")
    with pytest.raises(UsageError, match=r"does not end in \.gguf"):
        run_directory(Path("few.bin"), Path("few.csv"))


def test_an_interrupted_run_is_resumed_with_its_state(directory: RunDirectory) -> None:
    assert directory.open(SETTINGS, resume=False, force=False) == {}
    directory.save_state({"settings": SETTINGS, "strategy": {"packed": True}})
    with pytest.raises(UsageError, match="holds an interrupted run"):
        directory.open(SETTINGS, resume=False, force=False)
    state = directory.open(SETTINGS, resume=True, force=False)
    assert state == {"settings": SETTINGS, "strategy": {"packed": True}}
    with pytest.raises(UsageError, match="had another rank: 16, now 8"):
        directory.open({**SETTINGS, "rank": 8}, resume=True, force=False)
    assert directory.open(SETTINGS, resume=False, force=True) == {}


def test_there_must_be_a_run_to_resume(directory: RunDirectory) -> None:
    with pytest.raises(UsageError, match="there is no interrupted run"):
        directory.open(SETTINGS, resume=True, force=False)


def test_an_existing_adapter_is_replaced_only_with_force(directory: RunDirectory) -> None:
    directory.adapter.touch()
    with pytest.raises(UsageError, match="already exists"):
        directory.open(SETTINGS, resume=False, force=False)
    assert directory.open(SETTINGS, resume=False, force=True) == {}


def test_a_folder_that_no_run_made_is_never_removed(directory: RunDirectory) -> None:
    directory.folder.mkdir()
    data = directory.folder / "train.csv"
    data.touch()
    with pytest.raises(UsageError, match="is not the folder of a run"):
        directory.open(SETTINGS, resume=False, force=True)
    assert data.exists()


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("left", [[], [".mistral-cli-0123456789abcdef.tmp"]], ids=str)
def test_the_folder_of_a_run_that_was_killed_at_its_start_is_used(
    directory: RunDirectory, left: list[str], force: bool
) -> None:
    directory.folder.mkdir()
    for name in left:
        (directory.folder / name).touch()
    assert directory.open(SETTINGS, resume=False, force=force) == {}
    assert [path.name for path in directory.folder.iterdir()] == ["run.json"]


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    directory = RunDirectory(tmp_path / "file" / "a.gguf")
    with pytest.raises(MistralCliError, match="cannot create"):
        directory.open(SETTINGS, resume=False, force=False)


def test_the_newest_complete_checkpoint_is_found(directory: RunDirectory) -> None:
    directory.open(SETTINGS, resume=False, force=False)
    assert directory.newest_checkpoint() is None
    write_checkpoint(directory, 9)
    newest = write_checkpoint(directory, 10)
    incomplete = write_checkpoint(directory, 11, complete=False)
    assert directory.newest_checkpoint() == newest
    assert not incomplete.exists()


def test_a_finished_run_keeps_only_the_adapter(directory: RunDirectory) -> None:
    directory.open(SETTINGS, resume=False, force=False)
    write_checkpoint(directory, 3)
    (directory.folder / "adapter_config.json").touch()
    directory.finish()
    assert [path.name for path in directory.folder.iterdir()] == ["adapter_config.json"]


def test_a_run_of_the_first_version_keeps_its_strategy() -> None:
    way = {"device": "cpu", "packed": True, "recomputes": False, "parts": 2, "memory": 10}
    strategy = MemoryStrategy("cpu", True, False, 2, 10)
    assert saved_strategy({"settings": {}, "way": way}) == strategy
    assert saved_strategy({"settings": {}, "strategy": asdict(strategy)}) == strategy
    assert saved_strategy({}) is None
