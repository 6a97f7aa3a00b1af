"""Text from whoever made the data stays text, whatever it holds."""

import base64
import html

import numpy as np
import pytest

from sklearn_mmfusion.report._html import Markup, breakable, data_uri, join, number, plain, tag


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("text", "text"),
        ("esc\x1b[31m", "esc␛[31m"),
        ("a\nb\r\tc\x85d\x0be", "a b  c d e"),
        ("\x7f\x80\x9f", "␡��"),
        ("\ud800 half", "� half"),
        ("a\u202eb\u2066c\u200f", "a�b�c�"),
        ("\u2028\uffff", " �"),
        ("日本語 é ␛", "日本語 é ␛"),
        (3, "3"),
    ],
)
def test_plain_shows_what_can_be_shown_and_pictures_of_the_rest(value, shown):
    assert plain(value) == shown
    plain(value).encode("utf-8")


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "a & b", "\"quoted\" 'twice'", "</style>"]
)
def test_tag_escapes_children_and_attributes(name):
    made = tag("p", name, title=name)
    assert isinstance(made, Markup)
    assert made == f'<p title="{html.escape(name)}">{html.escape(name)}</p>'


def test_tag_keeps_markup_drops_none_and_closes_no_void_element():
    assert tag("p", None, tag("b", "x"), class_="a", id=None) == '<p class="a"><b>x</b></p>'
    assert tag("img", alt="<") == '<img alt="&lt;">'
    assert tag("meta", name="viewport", http_equiv="x") == '<meta name="viewport" http-equiv="x">'


def test_join_escapes_only_what_is_no_markup():
    assert join(["<", Markup("<br>"), None, "&"]) == "&lt;<br>&amp;"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0.0, "0"),
        (-0.0, "0"),
        (0.123456, "0.1235"),
        (-12.5, "\u221212.5"),
        (123456.7, "1.23e+05"),
        (0.00012345, "1.23e\u221204"),
        (float("inf"), "inf"),
        (1234567, "1\u202f234\u202f567"),
        (np.int64(7), "7"),
        (np.float32(0.5), "0.5"),
        ("<b>", "<b>"),
        (True, "True"),
    ],
)
def test_number_has_four_digits_and_a_dash_for_none(value, shown):
    assert number(value) == shown


def test_breakable_breaks_long_words_only_and_escapes():
    assert breakable("short words here") == "short words here"
    long = "x" * 40
    assert breakable(long) == f"{'x' * 16}<wbr>{'x' * 16}<wbr>{'x' * 8}"
    made = breakable("<" * 30)
    assert made.replace("<wbr>", "") == "&lt;" * 30
    assert breakable("") == ""


def test_data_uri_holds_its_content():
    content = bytes(range(256))
    head, _, body = data_uri(content, "image/png").partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(body) == content
