"""Tables of explanations: tidy data frames, and small tables in HTML with every name escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "HTML_COLUMNS",
    "HTML_ROWS",
    "html_table",
    "is_label",
    "long_frame",
    "pandas_for",
    "with_half_width",
]

HTML_ROWS = 20
HTML_COLUMNS = 12


def pandas_for(explanation: Any) -> Any:
    """Return the module pandas, or say what to install."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(
            f"{type(explanation).__name__}.to_frame needs pandas; install the extra 'frames' of "
            "sklearn-mmfusion, or use .data."
        ) from error
    return pd


def long_frame(
    pd: Any, axes: Mapping[str, Sequence[Any]], columns: Mapping[str, NDArray[Any] | None]
) -> Any:
    """Return one row per combination of `axes`; a column with fewer axes has the first ones."""
    shape = tuple(len(names) for names in axes.values())
    positions = np.indices(shape).reshape(len(shape), -1)
    # Labels of several levels stay tuples in one column.
    frame = {
        axis: pd.Index(names, tupleize_cols=False)[position]
        for (axis, names), position in zip(axes.items(), positions, strict=True)
    }
    for word, values in columns.items():
        if values is not None:
            frame[word] = values[tuple(positions[: values.ndim])]
    return pd.DataFrame(frame)


def is_label(labels: NDArray[Any], names: Sequence[Any]) -> NDArray[np.bool_]:
    """Return for each sample and name whether the name is a label of the sample."""
    if labels.ndim == 2:
        return labels.astype(bool)
    return np.array(
        [[label == name or str(label) == str(name) for name in names] for label in labels]
    )


def with_half_width(value: float, interval: NDArray[np.float64] | None) -> str:
    """Return a number, with half the width of its interval where there is one."""
    half = np.nan if interval is None else (interval[1] - interval[0]) / 2
    return f"{value:.3f}" if np.isnan(half) else f"{value:.3f} ± {half:.3f}"


def html_table(
    title: str, headings: Sequence[Any], rows: Sequence[str], notes: Sequence[str]
) -> str:
    """Return a small table; `rows` are HTML, the rest is text and is escaped here."""
    head = "".join(f"<th>{escape(str(heading))}</th>" for heading in headings)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    below = "".join(f"<p>{escape(note)}</p>" for note in notes)
    return (
        f"<div><p><code>{escape(title)}</code></p><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>{below}</div>"
    )
