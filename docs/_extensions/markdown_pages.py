"""Pages that are written in Markdown, for GitHub, and included in the documentation.

Knows what CONTRIBUTING.md uses: headings, fenced code, code in a line, tables, lists.
"""

import re
from pathlib import Path

UNDERLINES = {1: "=", 2: "-", 3: "~"}


def _table(rows):
    """Return a list-table of the lines of a Markdown table."""
    cells = [[cell.strip() for cell in row.strip().strip("|").split("|")] for row in rows]
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in [cells[0], *cells[2:]]:  # without the rule below the heading
        starts = ["   * -", *["     -"] * (len(row) - 1)]
        lines += [f"{start} {cell}" for start, cell in zip(starts, row, strict=True)]
    return [*lines, ""]


def to_rst(markdown):
    """Return the Markdown text as reStructuredText."""
    lines, table, fenced = [], [], False
    for line in [*markdown.splitlines(), ""]:
        fence = re.fullmatch(r"```(\w*)", line)
        if fence:
            fenced = not fenced
            lines += [f".. code-block:: {fence[1] or 'text'}", ""] if fenced else [""]
        elif fenced:
            lines.append(f"   {line}")
        elif line.startswith("|"):
            table.append(re.sub(r"`([^`]+)`", r"``\1``", line))
        else:
            if table:
                lines += _table(table)
                table = []
            heading = re.fullmatch(r"(#{1,3}) (.+)", line)
            if heading:
                lines += [heading[2], UNDERLINES[len(heading[1])] * len(heading[2])]
            else:
                lines.append(re.sub(r"`([^`]+)`", r"``\1``", line))
    return "\n".join(lines)


def _convert(app, relative_path, parent_docname, content):
    """Convert the text of an included Markdown file in place."""
    if Path(relative_path).suffix == ".md":
        content[0] = to_rst(content[0])


def setup(app):
    """Connect to what Sphinx reads for ``.. include::``."""
    app.connect("include-read", _convert)
    return {"parallel_read_safe": True}
