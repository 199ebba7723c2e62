"""Reads a page as a browser would: which elements are open where, what they point to. For tests only."""

from __future__ import annotations

from html.parser import HTMLParser


class Page(HTMLParser):
    """Every element in order with its attributes and text; complains of what is closed out of turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element opens."""
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "br", "hr"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element that closes itself, as SVG's do."""
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """An element closes: it must be the one that opened last."""
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        """Text between elements."""
        self.text.append(data)

    def values(self, attribute: str) -> list[str]:
        """Every value of an attribute, in order."""
        return [found[attribute] or "" for _, found in self.elements if attribute in found]
