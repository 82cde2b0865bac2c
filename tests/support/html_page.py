"""An HTML page, parsed for tests."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img", "input"}


class Page(HTMLParser):
    """The elements of a page; each has its tag, attributes and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self._texts: list[list[str]] = []
        self._open: list[int] = []
        self.feed(html)
        self.close()
        assert not self._open, "an element is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._texts.append([])
        if tag not in VOID:
            self._open.append(len(self.elements) - 1)

    def handle_endtag(self, tag: str) -> None:
        assert self.elements[self._open.pop()][0] == tag

    def handle_data(self, data: str) -> None:
        for number in self._open:
            self._texts[number].append(data)

    def all(self, name: str) -> list[tuple[dict[str, str], str]]:
        """The attributes and texts of the elements with the class (or else the tag) `name`."""
        return [
            (attributes, "".join(text))
            for (tag, attributes), text in zip(self.elements, self._texts, strict=True)
            if tag == name or name in attributes.get("class", "").split()
        ]

    def texts(self, name: str) -> list[str]:
        return [text for _, text in self.all(name)]
