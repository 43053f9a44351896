"""Broken links of a built book: `python docs/links.py build/book` lists them and ends with status 1 if there are any.

Every href and src of every page has to lead to a file of the book, and its anchor to an element there. Links to other
sites are only counted: they are not ours to keep, and a check without a network is one that runs everywhere.
"""

import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The ids of a page and everything that it refers to."""

    def __init__(self, path: Path):
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and (name == "id" or (name == "name" and tag == "a")):
                self.ids.add(value)
            elif value and name in ("href", "src"):
                self.links.append(value)


page = cache(Page)


def broken(book: Path) -> list[str]:
    """'page: link' for every link that leads nowhere, in order."""
    found = []
    for path in sorted(book.rglob("*.html")):
        for link in page(path).links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                found.append(f"{path.relative_to(book)}: {link}")
            elif parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in page(target).ids:
                found.append(f"{path.relative_to(book)}: {link} (no such anchor)")
    return list(dict.fromkeys(found))


if __name__ == "__main__":
    book = Path(sys.argv[1])
    lines = broken(book)
    print("\n".join(lines) or f"{len(list(book.rglob('*.html')))} pages, no broken link")
    sys.exit(bool(lines))
