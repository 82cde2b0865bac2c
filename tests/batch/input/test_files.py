from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.terminals import make_terminal

from mistral_cli.batch.input.files import find_input_files
from mistral_cli.batch.input.rows import read_rows
from mistral_cli.errors import UsageError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with some files."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "src/b.md",
        "src/a.md",
        "src/deep/c.md",
        "src/deep/er/d.txt",
        "src/.hidden.md",
        "src/.git/e.md",
        "src/[1].md",
        "other.txt",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def matches(*names: str) -> list[tuple[str, str]]:
    sources = find_input_files(names)
    return [(str(source.path), str(source.relative)) for source in sources]


def paths(*names: str) -> list[str]:
    return [path for path, _ in matches(*names)]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("src/*.md", ["src/[1].md", "src/a.md", "src/b.md"]),
        ("src/?.md", ["src/a.md", "src/b.md"]),
        ("src/[!a].md", ["src/b.md"]),
        ("src/**/*.md", ["src/[1].md", "src/a.md", "src/b.md", "src/deep/c.md"]),
        ("src/**/**/c.md", ["src/deep/c.md"]),
        ("**/c.md", ["src/deep/c.md"]),
        ("src/**", ["src/[1].md", "src/a.md", "src/b.md", "src/deep/c.md", "src/deep/er/d.txt"]),
        ("src/*/er/*.txt", ["src/deep/er/d.txt"]),
        ("src/*/../a.md", ["src/deep/../a.md"]),
        ("*", ["other.txt"]),
        ("src/.*", ["src/.hidden.md"]),
        ("src/.g*/*", ["src/.git/e.md"]),
        ("src/[1].md", ["src/[1].md"]),
        ("src/[[]1].md", ["src/[1].md"]),
    ],
)
def test_globs_are_expanded_as_a_shell_would(
    folder: Path, pattern: str, expected: list[str]
) -> None:
    assert paths(pattern) == expected


def test_a_folder_is_every_file_below_it(folder: Path) -> None:
    everything = ["src/[1].md", "src/a.md", "src/b.md", "src/deep/c.md", "src/deep/er/d.txt"]
    assert paths("src") == paths("src/") == paths("./src") == everything
    assert paths(str(folder / "src")) == [str(folder / name) for name in everything]
    assert paths("src/.git") == ["src/.git/e.md"]  # because it was named


def test_paths_are_relative_to_the_folder_or_the_fixed_part(folder: Path) -> None:
    assert matches("src/deep") == [("src/deep/c.md", "c.md"), ("src/deep/er/d.txt", "er/d.txt")]
    assert matches("src/d*/**/*.txt") == [("src/deep/er/d.txt", "deep/er/d.txt")]
    assert matches("src/deep/c.md") == [("src/deep/c.md", "c.md")]
    assert matches(str(folder / "sr?/a.md")) == [(str(folder / "src/a.md"), "src/a.md")]


def test_each_file_is_used_once_at_its_first_mention(folder: Path) -> None:
    again = ("./src/a.md", "src/deep/../a.md", str(folder / "src/a.md"), "src/*.md")
    assert paths("src/b.md", "src/a.md", *again) == ["src/b.md", "src/a.md", "src/[1].md"]
    assert paths("-", "src/a.md", "-") == ["-", "src/a.md"]
    assert paths() == ["-"]


def test_links_to_folders_are_followed_only_if_named(folder: Path) -> None:
    (folder / "src/up").symlink_to(folder)
    (folder / "src/same.md").symlink_to("a.md")
    assert paths("src/**/*.md") == [
        "src/[1].md",
        "src/a.md",
        "src/b.md",
        "src/deep/c.md",
        "src/same.md",
    ]
    assert paths("src/up/*.txt", "other.txt") == ["src/up/other.txt"]


def test_globs_match_regular_files_only(folder: Path) -> None:
    os.mkfifo(folder / "src/pipe.md")
    (folder / "src/gone.md").symlink_to("nowhere")
    (folder / "src/folder.md").mkdir()
    assert paths("src/*.md") == ["src/[1].md", "src/a.md", "src/b.md"]
    assert paths("src/pipe.md") == ["src/pipe.md"]  # as in <(command)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.txt", "gone.txt does not exist"),
        ("*.pdf", "*.pdf matches no file"),
        ("gone/**/*.txt", "gone/**/*.txt matches no file"),
        ("src/de*", "src/de* matches no file"),
        ("empty", "the folder empty has no files"),
        ("other.txt/*", "other.txt/* matches no file"),
        ("x" * 300, "cannot be read"),
    ],
)
def test_a_name_that_matches_nothing_is_an_error(folder: Path, name: str, message: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(UsageError) as error:
        paths("other.txt", name)
    assert message in error.value.message
    assert error.value.hint


def test_an_unreadable_folder_is_skipped_with_one_warning(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def closed(path: Path) -> object:
        if Path(path).name == "deep":  # chmod would not stop root
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    surroundings = make_terminal()
    found = read_rows(["src/**/*.md"], surroundings)
    assert len(list(found)) == 3
    assert found.unread == ["src/deep: Permission denied"]
    assert surroundings.warnings == ["skipping src/deep: Permission denied"]


def test_folders_are_listed_when_their_turn_comes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[str] = []
    scandir = os.scandir

    def noted(path: str) -> object:
        listed.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", noted)
    (folder / "src/later/still").mkdir(parents=True)
    (folder / "src/later/still/f.md").write_text("text")
    files = iter(find_input_files(["src"]))
    assert [str(next(files).path) for _ in range(3)] == ["src/[1].md", "src/a.md", "src/b.md"]
    assert "src/later" not in listed
    assert len([*files]) == 3
    folders = ["src", "src/deep", "src/deep/er", "src/later", "src/later/still"]
    assert sorted(listed) == folders  # each once


def test_names_sort_as_paths(tmp_path: Path) -> None:
    names = ["a/c", "a-b", "a.txt", "a0", "ab/x", "B", "a/-", "é", "a/d/e", "a/d-"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text")
    for pattern in (str(tmp_path), f"{tmp_path}/**", f"{tmp_path}/**/*"):
        found = [str(file.path) for file in find_input_files([pattern])]
        assert found == sorted(str(tmp_path / name) for name in names)


def test_each_file_has_its_part_of_the_whole(folder: Path) -> None:
    spans = [file.span for file in find_input_files(["src", "other.txt"])]
    assert 0 <= spans[0].start < spans[-2].end <= 0.5
    assert spans[-1] == (0.5, 1)
    ends = [place for span in spans for place in span]
    assert ends == sorted(ends)
    (folder / "src/a.md").write_text("x" * 30)
    (folder / "src/b.md").write_text("x" * 10)
    spans = [file.span for file in find_input_files(["src/a.md", "src/b.md"])]
    assert spans == [(0, 0.75), (0.75, 1)]  # by bytes


@pytest.mark.parametrize(
    ("names", "remembers"),
    [
        (["src"], False),
        (["src/**/*.md"], False),
        (["src/*.md"], False),
        (["src/deep", "other.txt"], False),
        (["src", "other.txt"], False),
        (["src", "src/a.md"], True),
        (["src", "src/deep"], True),
        (["src/*.md", "src/*.txt", "src"], True),
        (["src/*/c.md"], True),  # through links to one folder
        (["src/a.md", "src/b.md"], True),
    ],
)
def test_paths_are_remembered_only_if_a_file_may_come_twice(
    folder: Path, names: list[str], remembers: bool
) -> None:
    (folder / "src/x.txt").write_text("text")
    files = find_input_files(names)
    assert len([*files]) == len({file.path for file in find_input_files(names)})
    assert (files._known is not None) is remembers
