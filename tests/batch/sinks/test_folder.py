"""`batch --output-dir`: one result file for each input file."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.batch_program import Batch, lines_of
from support.fake_engine import Script

from mistral_cli.batch.run_report import report_path

TO = ("--output-dir", "es")
LEDGER = Path("es/.mistral-cli-batch.jsonl")


@pytest.fixture(autouse=True)
def inputs(here: Path) -> None:
    for name in ("a.md", "deep/b.md", "deep/page.html"):
        (here / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        (here / "src" / name).write_text(f"the text of {Path(name).stem}\n")


def written(here: Path) -> dict[str, str]:
    folder = here / "es"
    own = (LEDGER.name, report_path(LEDGER).name)
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in own)
    return {str(path.relative_to(folder)): path.read_text() for path in files}


def test_result_files_are_named_like_the_inputs(batch: Batch, here: Path, script: Script) -> None:
    assert batch("generate", "src", *TO).status == 0
    first = written(here)
    assert first == {
        "a.md": "text of a\n",
        "deep/b.md": "text of b\n",
        "deep/page.txt": first_page(first),
    }
    stamps = {path: path.stat().st_mtime_ns for path in (here / "es").rglob("[!.]*.*")}
    result = batch("generate", "src", *TO)
    assert "3 of 3 rows done, 3 of them in earlier runs" in result.stderr
    assert {path: path.stat().st_mtime_ns for path in (here / "es").rglob("[!.]*.*")} == stamps
    script(pieces=["{}"])
    args = ("json-extract", "src/*.md", "src/deep/b.md", "--schema", '{"type": "object"}')
    assert batch(*args, "--output-dir", "data").status == 0
    assert (
        (here / "data" / "a.json").read_text() == (here / "data" / "b.json").read_text() == "{}\n"
    )


def first_page(files: dict[str, str]) -> str:
    (page,) = (text for name, text in files.items() if "page" in name)
    assert "page" in page
    return page


def test_deleted_changed_and_renamed_files_are_processed_again(batch: Batch, here: Path) -> None:
    assert batch("generate", "src", *TO).status == 0
    before = written(here)
    (here / "es" / "a.md").unlink()
    result = batch("generate", "src", *TO)
    assert "3 of 3 rows done, 2 of them in earlier runs" in result.stderr
    assert written(here) == before
    (here / "src" / "a.md").write_text("some other words")
    (here / "src" / "deep" / "b.md").rename(here / "src" / "deep" / "c.md")
    result = batch("generate", "src", *TO)
    assert "3 of 3 rows done, 1 of them in earlier runs" in result.stderr
    now = written(here)
    assert now["a.md"] == "some other words\n"
    assert now["deep/c.md"] == now["deep/b.md"] == before["deep/b.md"]


def test_exchanged_inputs_exchange_their_results(batch: Batch, here: Path) -> None:
    """Each content has a result under the other file's name, which must not be used."""
    assert batch("generate", "src/*.md", "src/deep/b.md", *TO).status == 0
    a, b = here / "src" / "a.md", here / "src" / "deep" / "b.md"
    words = a.read_text(), b.read_text()
    a.write_text(words[1])
    b.write_text(words[0])
    for limit in (1, 9):
        args = ("generate", "src/*.md", "src/deep/b.md", *TO, "--limit", limit)
        assert batch(*args).status == 0
    assert written(here) == {"a.md": "text of b\n", "b.md": "text of a\n"}


def test_a_file_left_unplaced_by_a_crash_is_recovered(
    batch: Batch, here: Path, script: Script
) -> None:
    """The temporary file is moved into place only if it has the content that the ledger records."""
    assert batch("generate", "src/a.md", *TO).status == 0
    target, temporary = here / "es" / "a.md", here / "es" / ".mistral-cli-batch.tmp"
    script(pieces=["done again"])
    for held, content in ((target.read_text(), "text of a\n"), ("text", "done again\n")):
        target.unlink()
        temporary.write_text(held)
        assert batch("generate", "src/a.md", *TO).status == 0
        assert written(here) == {"a.md": content}
    assert len(lines_of(here / LEDGER)) == 1


def test_files_that_must_not_be_overwritten(batch: Batch, here: Path) -> None:
    (here / "src" / "deep" / "a.md").write_text("another a")
    (here / "es").mkdir()
    result = batch("generate", "src/a.md", "src/deep/a.md", *TO)
    assert result.status == 2
    assert "src/deep/a.md and src/a.md would both be written to es/a.md" in result.stderr
    before = {path: path.read_text() for path in (here / "src").rglob("*.*")}
    for arguments in (("src", "--output-dir", "src"), ("src/**/a.md", "--output-dir", "src")):
        result = batch("generate", *arguments, "--force")
        assert result.status == 2
        assert "would overwrite an input" in result.stderr
    # The target is another input, through a link to its folder.
    (here / "out").mkdir()
    (here / "out" / "deep").symlink_to(here / "src")
    result = batch("generate", "src", "--output-dir", "out", "--force")
    assert "would overwrite an input" in result.stderr
    assert {path: path.read_text() for path in (here / "src").rglob("*.*")} == before
    (here / "es" / "a.md").write_text("my own translation")
    result = batch("generate", "src/a.md", *TO)
    assert result.status == 2
    assert "es/a.md exists and is not a result of this batch" in result.stderr
    assert written(here) == {"a.md": "my own translation"}
    assert batch("generate", "src/a.md", *TO, "--force").status == 0
    assert written(here) == {"a.md": "text of a\n"}


def test_failed_rows_have_no_file(batch: Batch, here: Path, script: Script) -> None:
    script(fail_on="of b")
    result = batch("generate", "src", *TO)
    assert result.status == 10
    assert sorted(written(here)) == ["a.md", "deep/page.txt"]
    script()
    assert batch("generate", "src", *TO).status == 10
    assert batch("generate", "src", *TO, "--retry-failed").status == 0
    assert len(written(here)) == 3


def test_a_dry_run_creates_no_folder(batch: Batch, here: Path) -> None:
    (summary,) = lines_of(batch("generate", "src", *TO, "--dry-run").stdout)
    assert summary["to_do"] == 3
    assert not (here / "es").exists()
