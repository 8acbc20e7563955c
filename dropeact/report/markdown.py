"""The report's Markdown -> HTML as the page shows it: headings with anchors, tables in boxes that scroll, figures."""

import re
from collections.abc import Iterator, Mapping, Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape

PARSER = MarkdownIt("commonmark", {"html": False}).enable("table")  # what results say of themselves is no markup
SHORT = 20  # characters of a cell that stay on one line


def html(text: str, pictures: Mapping[str, str]) -> Markup:
    """The HTML of a Markdown text; `pictures` gives the address of what an image links to."""
    tokens = PARSER.parse(text)
    _anchor(tokens)
    _head(tokens)
    _show(tokens, pictures)
    return Markup(PARSER.renderer.render(list(_boxed(tokens)), PARSER.options, {}))


def inline(text: str) -> Markup:
    """The HTML of Markdown within a line: code and emphasis."""
    return Markup(PARSER.renderInline(text))


def headings(page: str) -> list[tuple[str, Markup]]:
    """Anchor and title of every second-level heading of an HTML text."""
    return [(anchor, Markup(title)) for anchor, title in re.findall(r'<h2 id="([^"]+)">(.+?)</h2>', page)]


def slug(title: str) -> str:
    """The anchor that GitHub gives a heading: small letters, hyphens for spaces, no punctuation."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _anchor(tokens: Sequence[Token]) -> None:
    for at, token in enumerate(tokens):
        if token.type == "heading_open":
            token.attrSet("id", slug(tokens[at + 1].content))


def _head(tokens: Sequence[Token]) -> None:
    """Make headings of the first cell of each row and name what each heading is of; an empty one is none."""
    first = False
    for at, token in enumerate(tokens):
        if token.type == "tr_open":
            first = True
        elif token.type in ("th_open", "td_open"):
            if len(tokens[at + 1].content) <= SHORT:
                token.attrSet("class", "short")
            heads = (token.type == "th_open" or first) and tokens[at + 1].content != ""
            token.tag = tokens[at + 2].tag = "th" if heads else "td"
            if heads:
                token.attrSet("scope", "row" if token.type == "td_open" else "col")
            first = False


def _show(tokens: Sequence[Token], pictures: Mapping[str, str]) -> None:
    """Give every image the address of what it links to."""
    for token in tokens:
        for child in token.children or ():
            if child.type == "image":
                source = str(child.attrs["src"])
                child.attrSet("src", pictures.get(source, source))


def _boxed(tokens: Sequence[Token]) -> Iterator[Token]:
    """Every table and every paragraph that is one image in a box that scrolls and can be reached by keyboard."""
    heading = ""
    for at, token in enumerate(tokens):
        if token.type == "heading_open":
            heading = tokens[at + 1].content
        if token.type == "table_open":
            yield _box(_title(tokens[at:]) or heading)
        inner = tokens[at + 1].children if token.type == "paragraph_open" else None
        if inner and [child.type for child in inner] == ["image"]:
            token.attrs.update(_reached(inner[0].content, "scroll picture"))
        yield token
        if token.type == "table_close":
            yield Token("html_block", "", 0, content="</div>\n")


def _box(name: str) -> Token:
    attributes = " ".join(f'{key}="{escape(value)}"' for key, value in _reached(name, "scroll").items())
    return Token("html_block", "", 0, content=f"<div {attributes}>\n")


def _reached(name: str, style: str) -> dict[str, str | int | float]:
    return {"class": style, "tabindex": "0", "role": "group", "aria-label": name}


def _title(tokens: Sequence[Token]) -> str:
    """The title of the table that `tokens` begin with: what is emphasised first in the paragraph below it."""
    close = next(at for at, token in enumerate(tokens) if token.type == "table_close")
    below = [token.children or [] for token in tokens[close + 1 : close + 3] if token.type == "inline"]
    emphasised = below and [child.type for child in below[0][:1]] == ["em_open"]
    return below[0][1].content.rstrip(".") if emphasised else ""
