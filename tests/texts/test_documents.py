"""Documents: their conversion to text, and the reasons why one cannot be read."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.documents import archive, docx, epub, odt, pdf, pptx
from support.program import Result

from mistral_cli.errors import UsageError
from mistral_cli.texts.documents import is_document, read_document

REPORT = pdf(["Annual report", "The harbour opened in 1906."])
LETTER = docx("Übersicht", "The harbour is deep.", [["ship", "berth"], ["Aurora", "7"]])
BOOK = epub(("Dawn", "It began &amp; grew."), ("Dusk", "It ended."))
PAGE = """<!DOCTYPE html><html><head><title>In the tab</title>
<meta name="description" content="for > machines"><style>p {color: red}</style>
<script>var secret = "</p>";</script></head>
<body><h1>Tides</h1><p>High &amp; <b>low</b>, é.</p><script>more()</script>
<ul><li>one<li>two</ul><pre>a  b</pre></body></html>"""
RTF = rb"{\rtf1\ansi{\fonttbl{\f0 Arial;}}\f0 Rich \b words\b0\par Second caf\'e9}"


@pytest.fixture(scope="module", autouse=True)
def library() -> None:
    pytest.importorskip("kreuzberg")


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("report.pdf", REPORT, "Annual report The harbour opened in 1906."),
        (
            "letter.DOCX",
            LETTER,
            "## Übersicht\n\nThe harbour is deep.\n\n"
            "| ship | berth |\n| --- | --- |\n| Aurora | 7 |",
        ),
        ("book.epub", BOOK, "# Dawn\n\nIt began & grew.\n\n# Dusk\n\nIt ended."),
        ("open.odt", odt("Head", "An open text."), "# Head\n\nAn open text."),
        ("talk.pptx", pptx("Plan", "Build a pier."), "## Plan\n\nBuild a pier."),
        ("rich.rtf", RTF, "Rich **words**\n\nSecond café"),
        (
            "page.html",
            PAGE.encode(),
            "# Tides\n\nHigh & **low**, é.\n\n- one\n- two\n\n```\na  b\n```",
        ),
        ("page.htm", b"<p>old</p>", "old"),
        ("page.xhtml", b"<html><body><p>strict &#228;</p></body></html>", "strict ä"),
    ],
)
def test_a_document_becomes_text(name: str, data: bytes, text: str) -> None:
    assert is_document(name, data)
    assert read_document(data, name).text.strip() == text
    if not name.endswith(("htm", "html")):  # what is piped has no name
        assert is_document("stdin", data)
        assert read_document(data, "stdin").text.strip() == text


def test_every_page_and_every_running_header_is_kept() -> None:
    pages = [["Invoice 4711", "", f"Item {i} costs {i * 7} euros.", "Paid."] for i in range(6)]
    text = read_document(pdf(*pages), "invoice.pdf").text
    assert [text.count(f"Item {i} costs {i * 7} euros.") for i in range(6)] == [1] * 6
    assert (text.count("Invoice 4711"), text.count("Paid.")) == (6, 6)


def test_a_pdf_printed_by_a_browser_keeps_the_spaces_between_words() -> None:
    text = read_document(
        (Path(__file__).parents[1] / "support" / "files" / "printed.pdf").read_bytes(), "a.pdf"
    ).text
    assert "decided to repair the north pier before winter, because the storm" in text
    assert "the south pier until the work is done. The chair, **Zoë Maier**" in text
    assert text.startswith("# Minutes of the harbour committee\n\nThe committee")


def test_the_content_counts_more_than_the_name() -> None:
    assert read_document(LETTER, "letter.pdf").text.startswith("## Übersicht")
    assert read_document(b"\n" + REPORT, "report.docx").text.startswith("Annual")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("notes.txt", b"text"),
        ("notes.md", b"# %PDF-1.4"),
        ("stdin", PAGE.encode()),
        ("report.pdf", b""),
        ("page.html", b" \n"),
        ("archive.zip", archive({"a.txt": "text"})),
    ],
)
def test_files_that_are_not_documents(name: str, data: bytes) -> None:
    assert not is_document(name, data)


@pytest.mark.parametrize(
    "data",
    [
        "<p>café €".encode(),
        "<meta charset=iso-8859-15><p>café €".encode("iso-8859-15"),
        "<meta charset='made-up'><p>café €".encode("cp1252"),
        "<meta http-equiv=x content='text/html; charset=cp1252'><p>café €".encode("cp1252"),
        "<meta charset=latin1><p>café €".encode(),
        "<meta charset=latin1><p>café €".encode("cp1252"),
        "\ufeff<p>café €".encode(),
        "<p>café €".encode("utf-16"),
        "<p>café €".encode("cp1252"),
        "<meta charset=idna><p>café €".encode("cp1252"),
    ],
)
def test_the_encoding_of_a_web_page(data: bytes) -> None:
    assert read_document(data, "page.html").text.strip() == "café €"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.pdf", pdf(["x"], locked=True), "a.pdf is password-protected"),
        (
            "a.docx",
            bytes.fromhex("d0cf11e0a1b11ae1") + "EncryptedPackage".encode("utf-16-le"),
            "a.docx is password-protected",
        ),
        ("a.docx", bytes.fromhex("d0cf11e0a1b11ae1") + b"old", "a.docx is damaged, or not DOCX"),
        ("a.pdf", REPORT[:150], "a.pdf is damaged, or not PDF"),
        ("a.pdf", b"not at all", "a.pdf is damaged, or not PDF"),
        ("a.docx", LETTER[:300], "a.docx is damaged, or not DOCX"),
        ("a.epub", archive({"a.txt": "text"}), "a.epub is damaged, or not EPUB"),
        ("a.pdf", pdf([]), "a.pdf contains no text (a scan"),
        ("a.html", b"<script>x()</script>", "a.html contains no text"),
    ],
)
def test_an_unreadable_document_gives_the_reason(name: str, data: bytes, message: str) -> None:
    with pytest.raises(UsageError) as error:
        read_document(data, name)
    assert error.value.message.startswith(message)
    assert error.value.hint.endswith(".")


@pytest.mark.parametrize("data", [REPORT, LETTER, BOOK, RTF, pptx("a", "b"), odt("a", "b")])
def test_any_damage_gives_text_or_a_usage_error(data: bytes) -> None:
    for place in range(0, len(data), 31):
        for damaged in (data[:place], data[:place] + b"\xff\0" + data[place + 2 :]):
            try:
                read_document(damaged, "a.pdf").text.encode()
            except UsageError:
                continue


# Through the program


def test_the_program_reads_a_file_a_pipe_and_a_web_page(
    run: Callable[..., Result], mistral: Path, tmp_path: Path
) -> None:
    report, page = tmp_path / "report.pdf", tmp_path / "page.html"
    report.write_bytes(REPORT)
    page.write_text(PAGE, encoding="utf-8")
    dry = ("summarize", "-m", mistral, "--dry-run", "--json")
    for result in (run(*dry, "-f", report), run(*dry, stdin=REPORT)):
        assert "harbour opened in 1906" in result.stdout
    assert "secret" not in run(*dry, "-f", page).stdout
    assert "secret" in run(*dry, stdin=PAGE).stdout  # markup that is piped in stays as it is


def test_without_the_extra_the_error_names_the_install_command(tmp_path: Path) -> None:
    report = tmp_path / "report.pdf"
    report.write_bytes(REPORT)
    program = (
        "import sys; sys.modules['kreuzberg'] = None; from mistral_cli.cli.app import main; main()"
    )
    process = subprocess.run(
        [sys.executable, "-c", program, "summarize", "-f", report],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 2
    assert f"{report} is PDF" in process.stderr
    assert "pip install 'mistral-cli[docs]'" in process.stderr


def test_plain_text_needs_no_library() -> None:
    program = (
        "import json, sys; from mistral_cli.texts.inputs import *; from pathlib import Path;"
        "from mistral_cli.system.terminal import Terminal;"
        "read_inputs([], [Path('README.md')], Terminal.from_process());"
        "print(json.dumps(sorted(sys.modules)))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        stdin=subprocess.DEVNULL,
        cwd=Path(__file__).parents[2],
    ).stdout
    assert "kreuzberg" not in json.loads(shown)
