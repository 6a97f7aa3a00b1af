"""ENRICO, on a small folder of the same form that the tests write."""

import json
import random
import sys

import numpy as np
import pytest

from sklearn_mmfusion import InputError
from sklearn_mmfusion.datasets import load_enrico

IDS = [str(number) for number in range(100, 120)]
TOPICS = ["login", "bare", "chat", "maps"] * 5
# Leaves: an element with children is a group, whatever its label; one without label is left out.
HIERARCHY = {
    "class": "DecorView",
    "bounds": [0, 0, 1440, 2560],
    "children": [
        {"bounds": [507, 84, 932, 208], "componentLabel": "Image"},
        {
            "bounds": [0, 271, 1440, 2392],
            "componentLabel": "On/Off Switch",
            "children": [
                {"bounds": [49, 2175, 1391, 2343], "componentLabel": "Text Button", "text": "Go"},
                {"bounds": [0, 0, 1, 1], "class": "View"},
                {"bounds": [216, 443, 1224, 1845], "componentLabel": "Map View", "children": []},
            ],
        },
    ],
}


def _topics(folder, ids=IDS, topics=TOPICS):
    rows = "".join(f"{name},{topic}\r\n" for name, topic in zip(ids, topics, strict=True))
    (folder / "design_topics.csv").write_text("screen_id,topic\r\n" + rows, newline="")


@pytest.fixture
def layouts(tmp_path):
    """A folder without images."""
    _topics(tmp_path)
    (tmp_path / "hierarchies").mkdir()
    for name in IDS:
        (tmp_path / "hierarchies" / f"{name}.json").write_text(json.dumps(HIERARCHY))
    return tmp_path


@pytest.fixture
def folder(layouts):
    """A folder with everything; each image has one colour."""
    image = pytest.importorskip("PIL.Image")
    for where, ending in (("screenshots", "jpg"), ("wireframes", "png")):
        (layouts / where).mkdir()
        for row, name in enumerate(IDS):
            mode, colour = (
                ("RGB", (10 * row, 200, 0)) if ending == "jpg" else ("RGBA", (row, 5, 0, 255))
            )
            image.new(mode, (54, 96), colour).save(layouts / where / f"{name}.{ending}")
    return layouts  # fmt: skip


def test_load_enrico_images_have_the_colours_of_the_files(folder):
    screens = load_enrico(folder, image_shape=(32, 16))
    assert list(screens.data) == ["screenshot", "wireframe"]
    for values in screens.data.values():
        assert values.shape == (20, 32, 16, 3)
        assert values.dtype == np.uint8
    row = np.arange(20)
    wireframe = np.stack([row, np.full(20, 5), np.zeros(20)], axis=1)
    np.testing.assert_array_equal(
        screens.data["wireframe"], np.broadcast_to(wireframe[:, None, None], (20, 32, 16, 3))
    )
    middle = screens.data["screenshot"][:, 16, 8].astype(int)  # JPEG is not exact
    np.testing.assert_allclose(
        middle, np.stack([10 * row, np.full(20, 200), np.zeros(20)], axis=1), atol=4
    )
    assert load_enrico(folder, modalities=["wireframe"]).data["wireframe"].shape[1:3] == (256, 128)


def test_load_enrico_image_is_scaled_upright(folder):
    image = pytest.importorskip("PIL.Image")
    values = np.zeros((96, 54, 3), dtype=np.uint8)
    values[:48] = 255  # the upper half is white
    image.fromarray(values).save(folder / "wireframes" / f"{IDS[3]}.png")
    scaled = load_enrico(folder, modalities=["wireframe"], image_shape=(8, 4)).data["wireframe"][3]
    np.testing.assert_array_equal(scaled[:3], 255)
    np.testing.assert_array_equal(scaled[5:], 0)


def test_load_enrico_target_is_the_topic_in_alphabetical_order(layouts):
    screens = load_enrico(layouts, modalities=["layout"])
    assert screens.target_names == ["bare", "chat", "login", "maps"]
    assert [screens.target_names[code] for code in screens.target] == TOPICS
    assert screens.target.dtype == np.int64
    assert screens.ids.tolist() == IDS


def test_load_enrico_layout_lists_the_leaves_in_order(layouts):
    screens = load_enrico(layouts, modalities=["layout"], max_elements=5)
    layout, names = screens.data["layout"], screens.feature_names["layout"]
    assert layout.shape == (20, 5, 28)
    assert len(names) == len(set(names)) == 28
    expected = [
        ([507, 84, 932, 208], "Image"),
        ([49, 2175, 1391, 2343], "Text Button"),
        ([216, 443, 1224, 1845], "Map View"),
    ]
    for step, (bounds, kind) in enumerate(expected):
        np.testing.assert_array_equal(layout[:, step, :4], [bounds] * 20)
        assert [names[column] for column in 4 + np.flatnonzero(layout[0, step, 4:])] == [kind]
        np.testing.assert_array_equal(layout[:, step, 4:].sum(axis=1), 1)
    assert np.isnan(layout[:, 3:]).all()
    assert not np.isnan(layout[:, :3]).any()
    short = load_enrico(layouts, modalities=["layout"], max_elements=2).data["layout"]
    np.testing.assert_array_equal(short, layout[:, :2])


def test_load_enrico_screen_without_elements_is_missing(layouts):
    (layouts / "hierarchies" / "103.json").write_text('{"bounds": [0, 0, 1, 1]}')
    layout = load_enrico(layouts, modalities=["layout"]).data["layout"]
    assert np.flatnonzero(np.isnan(layout).all(axis=(1, 2))).tolist() == [3]


def test_load_enrico_splits_are_those_of_the_benchmark(layouts):
    splits = load_enrico(layouts, modalities=["layout"]).splits
    assert {name: len(rows) for name, rows in splits.items()} == {
        "train": 13,
        "valid": 3,
        "test": 4,
    }
    # The benchmark shuffles the rows with Python's own generator and the seed 42.
    order = list(range(20))
    random.Random(42).shuffle(order)
    assert sorted(order[:13]) == splits["train"].tolist()
    assert sorted(order[13:16]) == splits["valid"].tolist()
    assert sorted(order[16:]) == splits["test"].tolist()


def test_load_enrico_damaged_screens_are_left_out(layouts):
    _topics(layouts, ["50105", *IDS, "50109"], ["login", *TOPICS, "login"])
    assert load_enrico(layouts, modalities=["layout"]).ids.tolist() == IDS


def test_load_enrico_text_that_is_not_utf8_is_read(layouts):
    content = json.dumps(HIERARCHY).encode().replace(b'"Go"', b'"G\xff"')
    (layouts / "hierarchies" / "100.json").write_bytes(content)
    layout = load_enrico(layouts, modalities=["layout"]).data["layout"]
    np.testing.assert_array_equal(layout[0], layout[1])


HIERARCHIES = {
    "no json": ("{", "missing, damaged"),
    "a list": ("[]", "got list"),
    "children that are numbers": ('{"children": [1]}', "got int"),
    "children that are a number": ('{"children": 1}', "missing, damaged"),
    "three bounds": ('{"bounds": [1, 2, 3], "componentLabel": "Text"}', "not four"),
    "one bound": ('{"bounds": 7, "componentLabel": "Text"}', "missing, damaged"),
    "a huge bound": ('{"bounds": [1, 2, 3, 1e300], "componentLabel": "Text"}', "not four"),
    "a whole huge bound": (
        '{"bounds": [1, 2, 3, 1%s], "componentLabel": "Text"}' % ("0" * 400),
        "missing, damaged",
    ),
    "bounds of text": ('{"bounds": ["a", 2, 3, 4], "componentLabel": "Text"}', "missing, damaged"),
    "NaN": ('{"bounds": [NaN, 2, 3, 4], "componentLabel": "Text"}', "not four"),
    "NaN further back": (
        '{"bounds": [1, 2, NaN, 4], "componentLabel": "Text"}',
        "not four",
    ),
    "infinity": ('{"bounds": [1, Infinity, 3, 4], "componentLabel": "Text"}', "not four"),
    "an unknown type": (
        '{"bounds": [1, 2, 3, 4], "componentLabel": "Sofa"}',
        "type 'Sofa'",
    ),
    "a type that is a list": ('{"bounds": [1, 2, 3, 4], "componentLabel": []}', "unknown type"),
    "a deep nest": ("[" * 100_000, "missing, damaged"),
    "a large file": (" " * 4_000_001, "more than 4000000 bytes"),
}


@pytest.mark.parametrize("what", HIERARCHIES)
def test_load_enrico_hierarchy_of_another_form_raises(layouts, what):
    content, pattern = HIERARCHIES[what]
    (layouts / "hierarchies" / "104.json").write_text(content)
    with pytest.raises(InputError, match=rf"layout: .*104\.json: .*{pattern}"):
        load_enrico(layouts, modalities=["layout"])


def test_load_enrico_missing_or_damaged_image_raises(folder):
    image = pytest.importorskip("PIL.Image")
    file = folder / "screenshots" / "105.jpg"
    for content in (b"", b"no image", file.read_bytes()[:200]):
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"screenshot: .*105\.jpg: missing, damaged"):
            load_enrico(folder)
    file.unlink()
    with pytest.raises(InputError, match=r"screenshot: .*105\.jpg: missing"):
        load_enrico(folder)
    image.new("1", (5000, 5000)).save(folder / "wireframes" / "105.png")
    with pytest.raises(InputError, match="5000 x 5000 pixels"):
        load_enrico(folder, modalities=["wireframe"])


TABLES = {
    "no file": (None, "cannot be read"),
    "an empty file": ("", "expected the columns"),
    "other columns": ("id,topic\n1,login\n", "expected the columns"),
    "a path as number": ("screen_id,topic\n../../secret,login\n", "expected a number and a topic"),
    "no topic": ("screen_id,topic\n100\n", "expected a number and a topic"),
}


@pytest.mark.parametrize("what", TABLES)
def test_load_enrico_table_of_another_form_raises(layouts, what):
    content, pattern = TABLES[what]
    table = layouts / "design_topics.csv"
    table.unlink()
    if content is not None:
        table.write_text(content)
    with pytest.raises(InputError, match=rf"design_topics\.csv: {pattern}"):
        load_enrico(layouts, modalities=["layout"])


def test_load_enrico_without_pillow_says_so(layouts, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="needs Pillow"):
        load_enrico(layouts)
    assert load_enrico(layouts, modalities=["layout"]).data["layout"].shape == (20, 64, 28)


@pytest.mark.parametrize(
    ("parameters", "pattern"),
    [
        ({"modalities": []}, "modalities: expected some of"),
        ({"modalities": ["layout", "layout"]}, "each once"),
        ({"modalities": ["text"]}, "modalities: expected some of"),
        ({"modalities": "layout"}, "'modalities' parameter"),
        ({"image_shape": (0, 3)}, "image_shape: expected"),
        ({"image_shape": (3,)}, "image_shape: expected"),
        ({"max_elements": 0}, "'max_elements' parameter"),
    ],
)
def test_load_enrico_bad_parameter_raises(layouts, parameters, pattern):
    with pytest.raises(ValueError, match=pattern):
        load_enrico(layouts, **parameters)
