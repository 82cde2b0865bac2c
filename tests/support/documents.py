"""Make small real documents of every supported kind from a few lines of text."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence

_TYPES = (
    '<?xml version="1.0"?>'
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels"'
    ' ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/></Types>'
)
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_RELATIONSHIPS = "http://schemas.openxmlformats.org/package/2006/relationships"
_OPEN = "urn:oasis:names:tc:opendocument:xmlns"


def pdf(*pages: Sequence[str], locked: bool = False) -> bytes:
    """A page for each argument, in Helvetica; with `locked`, it needs an unknown password."""
    first = 4  # the objects before the pages: catalogue, list of pages, font
    kids = b" ".join(b"%d 0 R" % (first + 2 * i) for i in range(len(pages)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[%s]/Count %d>>" % (kids, len(pages)),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    for i, lines in enumerate(pages):
        shown = b" ".join(b"(%s) Tj T*" % line.encode("latin-1") for line in lines)
        content = b"BT /F1 12 Tf 72 750 Td 14 TL %s ET" % shown if lines else b""
        objects += [
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents %d 0 R"
            b"/Resources<</Font<</F1 3 0 R>>>>>>" % (first + 2 * i + 1),
            b"<</Length %d>>stream\n%s\nendstream" % (len(content), content),
        ]
    data, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    keys = b"/Encrypt<</Filter/Standard/V 1/R 2/O<%s>/U<%s>/P -4>>/ID[<00><00>]"
    lock = keys % (b"aa" * 32, b"bb" * 32) if locked else b""
    entries = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(objects) + 1
    table = b"xref\n0 %d\n0000000000 65535 f \n%s" % (size, entries)
    trailer = b"trailer<</Size %d/Root 1 0 R%s>>\n" % (size, lock)
    return data + table + trailer + b"startxref\n%d\n%%%%EOF\n" % len(data)


def archive(files: dict[str, str]) -> bytes:
    """A zip file, the container of office files and e-books."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as target:
        for name, text in files.items():
            # The media type comes first and is not compressed.
            method = zipfile.ZIP_STORED if name == "mimetype" else zipfile.ZIP_DEFLATED
            target.writestr(name, text, method)
    return content.getvalue()


def docx(heading: str, paragraph: str, table: Sequence[Sequence[str]]) -> bytes:
    """A heading, a paragraph and a table."""

    def text(words: str, style: str = "") -> str:
        look = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
        return f"<w:p>{look}<w:r><w:t>{words}</w:t></w:r></w:p>"

    rows = (
        "<w:tr>" + "".join(f"<w:tc>{text(cell)}</w:tc>" for cell in row) + "</w:tr>"
        for row in table
    )
    body = text(heading, "Heading1") + text(paragraph) + f"<w:tbl>{''.join(rows)}</w:tbl>"
    space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    link = f'<Relationship Id="r1" Type="{_OFFICE}/officeDocument" Target="word/document.xml"/>'
    return archive(
        {
            "[Content_Types].xml": _TYPES,
            "_rels/.rels": f'<Relationships xmlns="{_RELATIONSHIPS}">{link}</Relationships>',
            "word/document.xml": f'<w:document xmlns:w="{space}"><w:body>{body}</w:body>'
            "</w:document>",
        }
    )


def pptx(title: str, words: str) -> bytes:
    """One slide."""
    p = "http://schemas.openxmlformats.org/presentationml/2006/main"
    a = "http://schemas.openxmlformats.org/drawingml/2006/main"

    def shape(number: int, text: str, kind: str = "") -> str:
        words = f"<p:txBody><a:p><a:r><a:t>{text}</a:t></a:r></a:p></p:txBody>"
        name = f'<p:nvSpPr><p:cNvPr id="{number}" name="s"/><p:nvPr>{kind}</p:nvPr></p:nvSpPr>'
        return f"<p:sp>{name}{words}</p:sp>"

    shapes = shape(2, title, '<p:ph type="title"/>') + shape(3, words)
    link = f'<Relationship Id="r1" Type="{_OFFICE}/slide" Target="slides/slide1.xml"/>'
    return archive(
        {
            "[Content_Types].xml": _TYPES,
            "ppt/presentation.xml": f'<p:presentation xmlns:p="{p}" xmlns:r="{_OFFICE}">'
            '<p:sldIdLst><p:sldId id="256" r:id="r1"/></p:sldIdLst></p:presentation>',
            "ppt/_rels/presentation.xml.rels": f'<Relationships xmlns="{_RELATIONSHIPS}">'
            f"{link}</Relationships>",
            "ppt/slides/slide1.xml": f'<p:sld xmlns:p="{p}" xmlns:a="{a}"><p:cSld><p:spTree>'
            f"{shapes}</p:spTree></p:cSld></p:sld>",
        }
    )


def epub(*chapters: tuple[str, str]) -> bytes:
    """A heading and a paragraph for each chapter, listed in the reading order."""
    items = "".join(
        f'<item id="c{i}" href="{i}.xhtml" media-type="application/xhtml+xml"/>'
        for i in reversed(range(len(chapters)))
    )
    order = "".join(f'<itemref idref="c{i}"/>' for i in range(len(chapters)))
    pages = {
        f"{i}.xhtml": '<html xmlns="http://www.w3.org/1999/xhtml"><head><title>t</title>'
        f"<style>p {{color: red}}</style></head><body><h1>{heading}</h1><p>{text}</p></body></html>"
        for i, (heading, text) in enumerate(chapters)
    }
    container = "urn:oasis:names:tc:opendocument:xmlns:container"
    return archive(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": f'<container version="1.0" xmlns="{container}"><rootfiles>'
            '<rootfile full-path="b.opf" media-type="application/oebps-package+xml"/>'
            "</rootfiles></container>",
            "b.opf": '<package xmlns="http://www.idpf.org/2007/opf" version="3.0"><metadata/>'
            f"<manifest>{items}</manifest><spine>{order}</spine></package>",
            **pages,
        }
    )


def odt(heading: str, paragraph: str) -> bytes:
    """A heading and a paragraph."""
    media_type = "application/vnd.oasis.opendocument.text"
    return archive(
        {
            "mimetype": media_type,
            "content.xml": f'<office:document-content xmlns:office="{_OPEN}:office:1.0"'
            f' xmlns:text="{_OPEN}:text:1.0"><office:body><office:text>'
            f'<text:h text:outline-level="1">{heading}</text:h><text:p>{paragraph}</text:p>'
            "</office:text></office:body></office:document-content>",
        }
    )
