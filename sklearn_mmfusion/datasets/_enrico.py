"""ENRICO: screens of mobile apps as screenshots, wireframes and lists of their elements."""

import csv
import json
import math
import os
import random
from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch
from sklearn.utils._param_validation import Interval, validate_params

from sklearn_mmfusion._errors import InputError

__all__ = ["load_enrico"]

ELEMENT_TYPES = (
    "Advertisement", "Background Image", "Bottom Navigation", "Card", "Checkbox", "Date Picker",
    "Drawer", "Icon", "Image", "Input", "List Item", "Map View", "Modal", "Multi-Tab",
    "Number Stepper", "On/Off Switch", "Pager Indicator", "Radio Button", "Slider", "Text",
    "Text Button", "Toolbar", "Video", "Web View",
)  # fmt: skip
BOUNDS = ("left", "top", "right", "bottom")
# modality -> folder and ending of its files
IMAGES = {"screenshot": ("screenshots", ".jpg"), "wireframe": ("wireframes", ".png")}
_MODALITIES = (*IMAGES, "layout")
# MultiBench leaves these screens out, because their wireframes are damaged.
DAMAGED = frozenset({"50105", "50109"})
# The split of MultiBench: a shuffle with this seed, then these shares.
SPLIT_SEED = 42
TRAIN_SHARE, VALID_SHARE = 0.65, 0.15
# The real files have 540 x 960 pixels, and about 10 kB of hierarchy.
MAX_PIXELS = 20_000_000
MAX_JSON_BYTES = 4_000_000
MAX_BOUND = 1e6

_DESCRIPTION = """ENRICO: the design topic of a mobile app's screen

Screens of Android apps in 20 topics of very different sizes. Modalities: the screenshot; the
semantic wireframe, an image that shows the type of each element by its colour; and the layout, a
sequence of the elements with their bounds in pixels and their type, one-hot.
"""


@validate_params(
    {
        "path": [str, os.PathLike],
        "modalities": [list, tuple],
        "image_shape": [tuple, list],
        "max_elements": [Interval(Integral, 1, None, closed="left")],
    },
    prefer_skip_nested_validation=True,
)
def load_enrico(
    path: str | os.PathLike[str],
    *,
    modalities: Sequence[str] = ("screenshot", "wireframe"),
    image_shape: Sequence[int] = (256, 128),
    max_elements: int = 64,
) -> Any:
    """Load ENRICO: screens of mobile apps, as images and as lists of elements, in 20 topics.

    Use it for classification from two or three views of the same screen. It reads the folder that
    the authors' archives [1]_ unpack to: ``design_topics.csv`` and, for the modalities that are
    asked for, ``screenshots/``, ``wireframes/`` and ``hierarchies/``. :func:`fetch_enrico`
    downloads them. Images need Pillow.

    Parameters
    ----------
    path : str or path-like
        The folder.
    modalities : sequence of {"screenshot", "wireframe", "layout"}, \
            default=("screenshot", "wireframe")
        What to load. The default are the two modalities of MultiBench [2]_.
    image_shape : sequence of two int, default=(256, 128)
        Height and width that the images are scaled to; the files have 960 x 540 pixels. All
        screens take 143 MB per modality at the default.
    max_elements : int, default=64
        Number of steps of the layout, at least 1. Further elements are left out.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the attributes

        data : dict of str to ndarray
            Images are uint8 of shape (n_samples, height, width, 3), the layout is float32 of
            shape (n_samples, max_elements, 28): left, top, right and bottom in pixels, then the
            type, one-hot. Steps of NaN at its end are padding. The elements stand in the order of
            the file; a screen without elements is a row of NaN.
        target : ndarray of shape (n_samples,), int64
            The topic.
        target_names : list of str
            The topics in alphabetical order.
        feature_names : dict of str to list of str
            ``{"layout": [...]}`` if it was asked for.
        splits : dict of str to ndarray of int
            The rows of ``"train"``, ``"valid"`` and ``"test"`` (65, 15 and 20 %), those of
            MultiBench.
        ids : ndarray of str of shape (n_samples,)
            The numbers of the screens.
        DESCR : str
            Description.

    Raises
    ------
    InputError
        If a file is missing or damaged.
    ImportError
        If images are asked for and Pillow is not installed.

    Notes
    -----
    Two screens with damaged wireframes are left out, whatever the modalities, as MultiBench does.

    References
    ----------
    .. [1] Leiva, Hota & Oulasvirta (2020), "Enrico: A high-quality dataset for topic modeling of
       mobile UI designs", MobileHCI Adjunct. https://github.com/luileito/enrico
    .. [2] Liang et al. (2021), "MultiBench: Multiscale benchmarks for multimodal representation
       learning", NeurIPS Datasets and Benchmarks. https://github.com/pliang279/MultiBench

    Examples
    --------
    >>> from sklearn_mmfusion.datasets import load_enrico
    >>> screens = load_enrico("enrico", modalities=["screenshot", "layout"])  # doctest: +SKIP
    """
    if not modalities or len(set(modalities)) < len(modalities) or set(modalities) - {*_MODALITIES}:
        raise InputError(
            f"modalities: expected some of {list(_MODALITIES)}, each once, got {modalities!r}."
        )
    if len(image_shape) != 2 or not all(isinstance(n, int) and n > 0 for n in image_shape):
        raise InputError(
            f"image_shape: expected (height, width) in pixels, got {tuple(image_shape)!r}."
        )
    folder = Path(path)
    ids, topics = _screens(folder / "design_topics.csv")
    names = sorted(set(topics))
    data: dict[str, NDArray[Any]] = {}
    for modality in modalities:
        if modality == "layout":
            data[modality] = np.stack([_layout(folder, name, max_elements) for name in ids])
        else:
            height, width = image_shape
            data[modality] = _images(folder, modality, ids, height, width)
    bunch = Bunch(
        data=data,
        target=np.array([names.index(topic) for topic in topics], dtype=np.int64),
        target_names=names,
        splits=_splits(len(ids)),
        ids=np.array(ids),
        DESCR=_DESCRIPTION,
    )
    if "layout" in data:
        bunch["feature_names"] = {"layout": [*BOUNDS, *ELEMENT_TYPES]}
    return bunch


def _screens(file: Path) -> tuple[list[str], list[str]]:
    """Return the numbers and the topics of the screens."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            rows = list(csv.DictReader(opened))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{file}: cannot be read ({error}). `path` is the folder with design_topics.csv, "
            f"screenshots/, wireframes/ and hierarchies/."
        ) from error
    if not rows or not {"screen_id", "topic"} <= rows[0].keys():
        raise InputError(f"{file}: expected the columns screen_id and topic. Download it again.")
    for row in rows:
        # The number becomes the name of a file, which must stay in the folder.
        number = row["screen_id"] or ""
        if not (number.isascii() and number.isdigit()) or not row["topic"]:
            raise InputError(
                f"{file}: expected a number and a topic, got {ascii(number)[:40]} and "
                f"{ascii(row['topic'])[:40]}. Download it again."
            )
    rows = [row for row in rows if row["screen_id"] not in DAMAGED]
    return [row["screen_id"] for row in rows], [row["topic"] for row in rows]


def _splits(n_screens: int) -> dict[str, NDArray[np.intp]]:
    """Return the rows of each split, sorted."""
    rows = list(range(n_screens))
    random.Random(SPLIT_SEED).shuffle(rows)
    first, second = int(n_screens * TRAIN_SHARE), int(n_screens * (TRAIN_SHARE + VALID_SHARE))
    parts = {"train": rows[:first], "valid": rows[first:second], "test": rows[second:]}
    return {name: np.array(sorted(part), dtype=np.intp) for name, part in parts.items()}


def _images(
    folder: Path, modality: str, ids: list[str], height: int, width: int
) -> NDArray[np.uint8]:
    """Return the images of a modality, scaled, as (n, height, width, 3)."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            f"load_enrico: the modality {modality!r} needs Pillow. Install it, or ask for "
            f"modalities=['layout'] only."
        ) from error
    where, ending = IMAGES[modality]
    images = np.empty((len(ids), height, width, 3), dtype=np.uint8)
    for row, name in enumerate(ids):
        file = folder / where / f"{name}{ending}"
        try:
            with Image.open(file, formats=["JPEG", "PNG"]) as image:
                if math.prod(image.size) > MAX_PIXELS:
                    raise ValueError(f"{image.size[0]} x {image.size[1]} pixels")
                scaled = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise InputError(
                f"{modality}: {file}: missing, damaged or too large ({error}). Download it again."
            ) from error
        images[row] = np.asarray(scaled)
    return images


def _layout(folder: Path, name: str, max_elements: int) -> NDArray[np.float32]:
    """Return the elements of a screen, (max_elements, 28), padded with NaN."""
    file = folder / "hierarchies" / f"{name}.json"
    layout = np.full((max_elements, len(BOUNDS) + len(ELEMENT_TYPES)), np.nan, dtype=np.float32)
    try:
        if file.stat().st_size > MAX_JSON_BYTES:
            raise ValueError(f"more than {MAX_JSON_BYTES} bytes")
        # Some texts of the apps are not UTF-8; they are not used.
        tree = json.loads(file.read_text(encoding="utf-8", errors="replace"))
        for step, (bounds, column) in enumerate(_elements(tree)[:max_elements]):
            layout[step] = 0
            layout[step, : len(BOUNDS)] = bounds
            layout[step, len(BOUNDS) + column] = 1
    except (OSError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(
            f"layout: {file}: missing, damaged or of another form ({error}). Download it again."
        ) from error
    return layout


def _elements(tree: Any) -> list[tuple[list[float], int]]:
    """Return bounds and type of the leaves of a hierarchy, in the order of the file."""
    leaves = []
    pending = [tree]
    while pending:
        node = pending.pop()
        if not isinstance(node, dict):
            raise TypeError(f"expected an element, got {type(node).__name__}")
        if node.get("children"):
            pending.extend(reversed(node["children"]))
        elif "bounds" in node and "componentLabel" in node:
            bounds = [float(bound) for bound in node["bounds"]]
            if len(bounds) != len(BOUNDS) or not all(abs(bound) < MAX_BOUND for bound in bounds):
                raise ValueError("bounds that are not four numbers")
            if node["componentLabel"] not in ELEMENT_TYPES:
                raise ValueError(f"unknown type {ascii(node['componentLabel'])[:40]}")
            leaves.append((bounds, ELEMENT_TYPES.index(node["componentLabel"])))
    return leaves
