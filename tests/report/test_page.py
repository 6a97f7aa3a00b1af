"""The page: well formed, self-contained, with every number in it."""

import base64
import json
import re

import numpy as np
import pytest

from sklearn_mmfusion.report._page import (
    Caution,
    Figure,
    Section,
    Table,
    Text,
    page,
    page_data,
)

SVG = '<svg xmlns="x" width="300pt" height="100pt"></svg>'


def _json_of(html):
    uri = re.search(r'href="data:application/json;base64,([^"]+)"', html)[1]
    return json.loads(base64.b64decode(uri))


def test_section_puts_figures_and_open_tables_side_by_side_in_order():
    table = Table("t", ["a", "b"], [["x", 1]])
    folded = Table("f", ["a"], [["y"]], folded="In numbers")
    section = Section(
        "key", "Title", [Text("first"), Figure(SVG, "alt"), table, folded, Text("last")]
    )
    html = section.html()
    order = ["first", 'class="row"', "<figure", "<table", "<details", "last"]
    assert sorted(order, key=html.index) == order
    assert html.count('class="row"') == 1


def test_figure_shrinks_to_the_screen_but_stays_readable():
    html = Figure(SVG, 'an "alt"').html()
    assert "width:min(100%,400px);min-width:288px" in html
    assert 'alt="an &quot;alt&quot;"' in html
    assert base64.b64encode(SVG.encode()).decode() in html


def test_table_marks_rows_and_aligns_columns_of_words():
    html = Table("t", ["name", "n", "word"], [["a", 1, "x"], ["b", 2, None]], marked={1}).html()
    assert html.count('<tr class="marked">') == 1
    assert html.count('<th scope="col" class="text">') == 2
    assert '<td class="text">x</td>' in html


def test_caution_says_what_it_is_in_words_not_only_in_colour():
    assert Caution("So.", "warning").html().startswith('<p class="caution warning"><strong>Warning')
    assert "<strong>Note" in Caution("So.").html()


def test_data_of_the_page_are_whole_numbers_of_its_tables():
    rows = [["a", np.float64(1 / 3), np.int64(2), None], ["b", float("nan"), float("inf"), True]]
    sections = [
        Section("one", "One", [Table("t", ["w", "x", "y", "z"], rows), Text("x")]),
        Section("two", "Two", [Text("no table")]),
    ]
    expected = {
        "one": {
            "t": {
                "columns": ["w", "x", "y", "z"],
                "rows": [["a", 1 / 3, 2, None], ["b", None, "inf", True]],
            }
        }
    }
    assert page_data(sections) == expected
    html = page("T", "lead", [("fact", 0.5)], sections)
    assert _json_of(html) == expected


def test_page_forbids_every_request():
    html = page("T", "lead", [], [])
    assert 'content="default-src &#x27;none&#x27;; style-src &#x27;unsafe-inline&#x27;' in html
    assert html.startswith("<!DOCTYPE html>\n<html")


@pytest.mark.parametrize("name", ["</title><script>x</script>", 'a"b', "c\x1bd"])
def test_page_escapes_titles_and_facts(name):
    html = page(name, name, [(name, name)], [Section("k", name, [Text(name)])])
    assert "<script" not in html
    assert "\x1b" not in html
