"""Colours of texts and lines that are read on the background they are drawn on, light or dark."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

__all__ = ["LIGHT", "Inks", "inks_of"]

GREY = (0.3, 0.59, 0.11)  # shares of red, green and blue in the brightness of a colour
DARKER = 0.45  # brightness below which a background takes bright inks


@dataclass(frozen=True)
class Inks:
    """Colours on one background.

    Attributes
    ----------
    text, quiet, faint, grid : str
        From the strongest to the weakest: names and numbers, notes, spines, lines of the grid.
    ground : str
        The background itself, to keep texts and lines apart from what is under them.
    """

    text: str
    quiet: str
    faint: str
    grid: str
    ground: str


LIGHT = Inks("#222222", "#555555", "#8A8A8A", "#E3E3E3", "white")
DARK = Inks("#EEEEEE", "#BBBBBB", "#8A8A8A", "#444444", "black")


def inks_of(place: Axes | FigureBase) -> Inks:
    """Return the inks for what is drawn inside axes, or on a figure beside them."""
    from matplotlib.colors import to_hex, to_rgba

    layers = [place]
    while layers[-1].figure is not layers[-1] and layers[-1].figure is not None:
        layers.append(layers[-1].figure)
    color = np.ones(3)  # where nothing has a colour, paper
    for layer in reversed(layers):
        *own, alpha = to_rgba(layer.get_facecolor())
        color = alpha * np.array(own) + (1 - alpha) * color
    if color @ GREY >= DARKER:
        return LIGHT
    red, green, blue = color.tolist()
    return replace(DARK, ground=to_hex((red, green, blue)))
