"""Result objects of the uncertainty of relevance: numbers, table, HTML."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sklearn_mmfusion._errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RelevanceIntervals", "RelevanceTest"]

HTML_ROWS = 40


class _TermTable:
    """One row of numbers per term.

    Parameters
    ----------
    data : mapping of str to arrays and values
        ``term_names`` and what the subclass lists.
    """

    _columns: ClassVar[Mapping[str, str]] = {}  # quantity per term -> heading
    _values: ClassVar[tuple[str, ...]] = ()  # single values that the repr shows

    def __init__(self, data: Mapping[str, Any]) -> None:
        if data.get("term_names") is None:
            raise InputError(f"{type(self).__name__} needs term_names; got only {sorted(data)}.")
        self.data = dict(data)
        n_terms = len(data["term_names"])
        for key in self._columns:
            values = np.asarray(data.get(key))
            if values.shape != (n_terms,):
                raise InputError(
                    f"{key} has shape {values.shape}; expected ({n_terms},), one per term."
                )
            self.data[key] = values

    def __getattr__(self, name: str) -> Any:
        if name != "data" and name in self.__dict__.get("data", {}):
            return self.data[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def to_frame(self) -> pd.DataFrame:
        """Return a table with one row per term.

        Returns
        -------
        frame : pandas.DataFrame
            Column ``term`` and one for each quantity.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                f"{type(self).__name__}.to_frame needs pandas; install the extra 'frames' of "
                "sklearn-mmfusion, or use .data."
            ) from error
        columns = {heading: self.data[key] for key, heading in self._columns.items()}
        return pd.DataFrame({"term": list(self.data["term_names"]), **columns})

    def __repr__(self) -> str:
        shown = ", ".join(f"{key}={self.data[key]!r}" for key in self._values)
        return f"{type(self).__name__}({shown}, n_terms={len(self.data['term_names'])})"

    def __str__(self) -> str:
        names = [str(name) for name in self.data["term_names"]]
        headings = ["term", *self._columns.values()]
        rows = [headings, *[[n, *self._cells(i)] for i, n in enumerate(names)]]
        widths = [max(len(row[i]) for row in rows) for i in range(len(headings))]
        lines = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)) for r in rows]
        return "\n".join([repr(self), *[line.rstrip() for line in lines]])

    def _cells(self, term: int) -> list[str]:
        values = [self.data[key][term] for key in self._columns]
        return ["-" if np.isnan(value) else f"{value:.3g}" for value in values]

    def _repr_html_(self) -> str:
        headings = ["term", *self._columns.values()]
        head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
        names = self.data["term_names"]
        body = "".join(
            f"<tr><th>{escape(str(name))}</th>"
            + "".join(f"<td>{cell}</td>" for cell in self._cells(i))
            + "</tr>"
            for i, name in enumerate(names[:HTML_ROWS])
        )
        more = len(names) - HTML_ROWS
        note = f"<p>{more} more terms are not shown.</p>" if more > 0 else ""
        return (
            f"<div><p><code>{escape(repr(self))}</code></p><table><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table>{note}</div>"
        )


class RelevanceIntervals(_TermTable):
    """Relevance of each term with an interval, from refits.

    :func:`relevance_intervals` returns one; every entry of ``data`` is an attribute too.

    Parameters
    ----------
    data : mapping of str to arrays and values
        With T terms, R refits and N null refits: ``term_names``, and ``term_modalities``, the
        modalities of each; ``estimate`` (T,), the fit to all rows; ``scores`` (R, T), the refits,
        with their ``mean`` and ``std`` (T,); ``low`` and ``high`` (T,), the interval;
        ``null_scores`` (N, T) or None, and ``null_quantile`` (T,), NaN for single modalities;
        ``method``, ``confidence``, ``n_refits``.

    Attributes
    ----------
    data : dict of str to arrays and values
        What was given.
    interval : ndarray of shape (n_terms, 2)
        Ends of the interval.
    above_null : ndarray of bool of shape (n_terms,) or None
        Whether the estimate is above the quantile of its null; False for single modalities, which
        have none, and None where no null was asked for.

    Raises
    ------
    InputError
        If a quantity does not have one number per term.

    Examples
    --------
    >>> from sklearn_mmfusion import RelevanceIntervals
    >>> result = RelevanceIntervals({
    ...     "term_names": ["a", "a x b"], "estimate": [0.7, 0.3], "scores": [[0.7, 0.3]],
    ...     "mean": [0.7, 0.3], "std": [0.1, 0.1], "low": [0.5, 0.1], "high": [0.9, 0.5],
    ...     "null_scores": [[float("nan"), 0.05]], "null_quantile": [float("nan"), 0.05],
    ...     "method": "bootstrap", "confidence": 0.95, "n_refits": 20,
    ... })
    >>> result.above_null
    array([False,  True])
    """

    _columns = {
        "estimate": "relevance",
        "low": "low",
        "high": "high",
        "mean": "mean of refits",
        "std": "std of refits",
        "null_quantile": "null",
    }
    _values = ("method", "confidence", "n_refits")

    @property
    def interval(self) -> np.ndarray:
        """Ends of the interval, (n_terms, 2)."""
        return np.column_stack([self.data["low"], self.data["high"]])

    @property
    def above_null(self) -> np.ndarray | None:
        """Whether the estimate is above the quantile of its null; None without a null."""
        if self.data["null_scores"] is None:
            return None
        return np.asarray(self.data["estimate"] > self.data["null_quantile"])

    def plot(self, **kwargs: Any) -> Any:
        """Draw the relevance with its intervals, and the nulls of interactions.

        Parameters
        ----------
        **kwargs : object
            Arguments of :meth:`RelevanceDisplay.from_intervals
            <sklearn_mmfusion.plotting.RelevanceDisplay.from_intervals>`.

        Returns
        -------
        display : RelevanceDisplay
            With ``ax_`` and ``figure_``.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        from sklearn_mmfusion.plotting import RelevanceDisplay

        return RelevanceDisplay.from_intervals(self, **kwargs)


class RelevanceTest(_TermTable):
    """Test of each term, from rows that did not train it.

    :func:`relevance_test` returns one; every entry of ``data`` is an attribute too.

    Parameters
    ----------
    data : mapping of str to arrays and values
        With T terms: ``term_names``; ``statistic`` (T,), the score of the term over its standard
        error, about normal where the term adds nothing; ``p_value`` (T,); ``adjusted`` (T,),
        p-values for all terms together after Holm; ``n_train``, ``n_test``, ``n_null``,
        ``n_splits``.

    Attributes
    ----------
    data : dict of str to arrays and values
        What was given.

    Raises
    ------
    InputError
        If a quantity does not have one number per term.

    Examples
    --------
    >>> from sklearn_mmfusion import RelevanceTest
    >>> result = RelevanceTest({
    ...     "term_names": ["a", "b"], "statistic": [5.2, 0.3], "p_value": [0.001, 0.38],
    ...     "adjusted": [0.002, 0.38], "n_train": 100, "n_test": 100, "n_null": 999, "n_splits": 1,
    ... })
    >>> print(result)
    RelevanceTest(n_train=100, n_test=100, n_null=999, n_splits=1, n_terms=2)
    term  statistic  p-value  adjusted
    a     5.2        0.001    0.002
    b     0.3        0.38     0.38
    """

    _columns = {"statistic": "statistic", "p_value": "p-value", "adjusted": "adjusted"}
    _values = ("n_train", "n_test", "n_null", "n_splits")
