"""A page of sections: text, tables, figures and cautions, in one file that loads nothing."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sklearn_mmfusion.report._html import Markup, breakable, data_uri, join, number, tag
from sklearn_mmfusion.report._style import STYLE

__all__ = ["Caution", "Figure", "Section", "Table", "Text", "page", "page_data"]

_SMALLEST = 0.72  # share of its width to which a figure shrinks; below, it scrolls
_USUAL = 450
_POINTS = 4 / 3  # CSS pixels


@dataclass
class Text:
    """A paragraph."""

    text: str
    quiet: bool = False

    def html(self) -> Markup:
        return tag("p", self.text, class_="quiet" if self.quiet else None)


@dataclass
class Caution:
    """Something to know before believing a number.

    ``level`` is "warning" for what makes numbers meaningless, "note" for what qualifies them.
    """

    text: str
    level: str = "note"

    def html(self) -> Markup:
        word = "Warning" if self.level == "warning" else "Note"
        return tag("p", tag("strong", f"{word}. "), self.text, class_=f"caution {self.level}")


@dataclass
class Table:
    """A table of values; folded away where ``folded`` says what to call it.

    Strings are left-aligned. Numbers are rounded on the page, and whole in the data.
    """

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    folded: str | None = None
    caption: str | None = None
    marked: frozenset[int] = frozenset()

    def html(self) -> Markup:
        words = [
            all(isinstance(row[i], str) or row[i] is None for row in self.rows)
            for i in range(len(self.columns))
        ]
        head = join(
            [
                tag("th", breakable(column), scope="col", class_="text" if word else None)
                for column, word in zip(self.columns, words, strict=True)
            ]
        )
        body = join([self._row(i, row) for i, row in enumerate(self.rows)])
        caption = tag("caption", self.caption) if self.caption else None
        table = tag(
            "table", caption, tag("thead", tag("tr", head)), tag("tbody", body), class_="numbers"
        )
        scroll = tag("div", table, class_="scroll", tabindex="0")
        if self.folded is None:
            return scroll
        return tag("details", tag("summary", self.folded), scroll)

    def _row(self, i: int, row: Sequence[Any]) -> Markup:
        first, *rest = row
        cells = [tag("th", _cell(first), scope="row")]
        for value in rest:
            cells.append(tag("td", _cell(value), class_="text" if isinstance(value, str) else None))
        return tag("tr", join(cells), class_="marked" if i in self.marked else None)

    def data(self) -> dict[str, Any]:
        return {
            "columns": list(self.columns),
            "rows": [[_jsonable(value) for value in row] for row in self.rows],
        }


@dataclass
class Figure:
    """A drawing, as SVG, and what has to be known to read it."""

    svg: str
    alt: str
    caption: str | None = None

    def html(self) -> Markup:
        found = re.search(r'<svg[^>]*? width="([\d.]+)pt"', self.svg, re.DOTALL)
        width = round(float(found[1]) * _POINTS) if found else _USUAL
        # It shrinks with the screen, but not so far that its text can't be read.
        style = f"width:min(100%,{width}px);min-width:{round(_SMALLEST * width)}px"
        source = data_uri(self.svg.encode("utf-8"), "image/svg+xml")
        return tag(
            "figure",
            tag("img", src=source, alt=self.alt, style=style),
            tag("figcaption", self.caption) if self.caption else None,
            class_="scroll",
            style=f"width:{width}px",
        )


Block = Text | Caution | Table | Figure


@dataclass
class Section:
    """A part of the page."""

    key: str
    title: str
    blocks: list[Block] = field(default_factory=list)

    def html(self) -> Markup:
        # Figures and tables stand beside each other where there is room.
        parts: list[Markup] = []
        row: list[Markup] = []
        for block in self.blocks:
            if isinstance(block, Figure) or (isinstance(block, Table) and block.folded is None):
                row.append(block.html())
                continue
            if row:
                parts.append(tag("div", join(row), class_="row"))
                row = []
            parts.append(block.html())
        if row:
            parts.append(tag("div", join(row), class_="row"))
        return tag("section", tag("h2", self.title), join(parts), id=self.key)


def page(title: str, lead: str, facts: Sequence[tuple[str, Any]], sections: list[Section]) -> str:
    """Return the whole file.

    Parameters
    ----------
    title : str
        Title of the page.
    lead : str
        What the page is about, one sentence.
    facts : sequence of (str, value)
        The few numbers that stand above everything.
    sections : list of Section
        The rest, in this order.

    Returns
    -------
    str
        HTML.
    """
    links = [tag("a", section.title, href=f"#{section.key}") for section in sections]
    numbers = json.dumps(page_data(sections), indent=1, ensure_ascii=True, allow_nan=False)
    download = tag(
        "a",
        "all numbers as JSON",
        href=data_uri(numbers.encode("ascii"), "application/json"),
        download="fusion_report.json",
        class_="download",
    )
    cards = [
        tag("div", tag("dt", word), tag("dd", number(value)), class_="fact")
        for word, value in facts
    ]
    head = join(
        [
            tag("meta", charset="utf-8"),
            # Nothing is ever fetched, whatever a name holds.
            tag(
                "meta",
                http_equiv="Content-Security-Policy",
                content="default-src 'none'; style-src 'unsafe-inline'; img-src data:",
            ),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name="color-scheme", content="light dark"),
            tag("title", title),
            tag("style", Markup(STYLE)),
        ]
    )
    body = join(
        [
            tag(
                "header",
                tag("h1", title),
                tag("p", lead),
                tag("dl", join(cards), class_="facts"),
                tag("nav", join(links), download, aria_label="Sections"),
            ),
            tag("main", join([section.html() for section in sections])),
        ]
    )
    return "<!DOCTYPE html>\n" + tag("html", tag("head", head), tag("body", body), lang="en") + "\n"


def page_data(sections: Sequence[Section]) -> dict[str, Any]:
    """Return the numbers of all tables: section, then table, then columns and rows."""
    return {
        section.key: tables
        for section in sections
        if (tables := {b.name: b.data() for b in section.blocks if isinstance(b, Table)})
    }


def _cell(value: Any) -> Markup | str:
    return breakable(value) if isinstance(value, str) else number(value)


def _jsonable(value: Any) -> Any:
    """Return a plain Python value; NaN and infinities, which JSON lacks, are None and text."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, float):
        return value + 0.0  # no minus before a zero
    return value if isinstance(value, bool | int | float | type(None)) else str(value)
