"""Scores of models on the same folds and seeds, with intervals that know that folds overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion._explanations.tables import html_table, pandas_for
from sklearn_mmfusion._rows.resampling import corrected_interval, corrected_p_value

if TYPE_CHECKING:
    import pandas as pd

    from sklearn_mmfusion.plotting import ComparisonDisplay

__all__ = ["ModelComparison"]

Floats = npt.NDArray[np.float64]


class ModelComparison:
    r"""Scores of several models on the same folds, over seeds.

    :func:`~sklearn_mmfusion.compare_models` returns one.

    Parameters
    ----------
    scores : mapping of str to mapping of str to array-like of shape (n_seeds, n_folds)
        For each metric, the scores of each model by name.
    test_ratio : float, default=0
        Rows of a test part divided by rows of its training part.
    seeds : sequence of int, default=None
        The seeds; None counts them.
    fit_times : mapping of str to array-like of shape (n_seeds, n_folds), default=None
        Seconds that each fit took.
    same_folds : bool, default=False
        Whether all seeds had the same folds. Scores of a fold differ by the luck of the fit alone
        then, and are averaged over the seeds before intervals and tests.

    Attributes
    ----------
    scores : dict of str to dict of str to ndarray of shape (n_seeds, n_folds)
        What was given, as arrays.
    model_names, metric_names : list of str
        Models and metrics, in their order.
    seeds : list of int
        Seeds.
    test_ratio, same_folds : float, bool
        As given.

    Raises
    ------
    InputError
        If models differ in the shape of their scores, or there are none.

    Notes
    -----
    Training sets of folds overlap, so scores over folds and seeds are not independent, and a
    plain t-test finds differences that are none. Intervals and p-values are those of the
    corrected resampled t-test [1]_: with :math:`J` scores over all folds and seeds (over the folds
    alone, where all seeds have the same), :math:`\bar x \pm t_{J-1}\, s \sqrt{1/J +
    n_\text{test} / n_\text{train}}`, for a difference on the scores paired by fold and seed. More
    seeds therefore narrow an interval only so far.
    P-values are not corrected for the number of models, and a reference that is chosen as the
    best looks a little better than it is.

    References
    ----------
    .. [1] Nadeau & Bengio (2003), "Inference for the Generalization Error", Machine Learning 52.

    Examples
    --------
    >>> from sklearn_mmfusion import ModelComparison
    >>> scores = {"a": [[0.9, 0.8, 0.85]], "b": [[0.8, 0.8, 0.75]]}
    >>> comparison = ModelComparison({"accuracy": scores}, test_ratio=0.5)
    >>> comparison.best("accuracy")
    'a'
    """

    def __init__(
        self,
        scores: Mapping[str, Mapping[str, Any]],
        *,
        test_ratio: float = 0.0,
        seeds: Sequence[int] | None = None,
        fit_times: Mapping[str, Any] | None = None,
        same_folds: bool = False,
    ) -> None:
        self.scores: dict[str, dict[str, Floats]] = {
            metric: {
                name: np.atleast_2d(np.asarray(values, dtype=np.float64))
                for name, values in by_model.items()
            }
            for metric, by_model in scores.items()
        }
        self.metric_names = list(self.scores)
        self.model_names = list(next(iter(self.scores.values()), {}))
        shapes = {v.shape for by_model in self.scores.values() for v in by_model.values()}
        names = {tuple(by_model) for by_model in self.scores.values()}
        if len(shapes) != 1 or len(names) != 1:
            raise InputError(
                "scores: expected the same models, seeds and folds for every metric, got models "
                f"{sorted(names)} with shapes {sorted(shapes)}"
            )
        self.test_ratio = float(test_ratio)
        self.same_folds = bool(same_folds)
        n_seeds = next(iter(shapes))[0]
        self.seeds = list(range(n_seeds)) if seeds is None else [int(seed) for seed in seeds]
        self.fit_times = {name: np.atleast_2d(v) for name, v in (fit_times or {}).items()}

    def best(self, metric: str | None = None) -> str:
        """Return the name of the model with the largest mean score.

        Parameters
        ----------
        metric : str, default=None
            Name of the metric; None takes the first.

        Returns
        -------
        str
            Name of the model; of equals the first.
        """
        scores = self.scores[self._metric(metric)]
        return max(scores, key=lambda name: float(scores[name].mean()))

    def to_frame(self) -> pd.DataFrame:
        """Return every score as a long table.

        Returns
        -------
        frame : pandas.DataFrame
            One row per metric, model, seed and fold: ``metric``, ``model``, ``seed``, ``fold``,
            ``score``, and ``fit_time`` in seconds where it is known.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        pd = pandas_for(self)
        rows = []
        for metric, by_model in self.scores.items():
            for name, values in by_model.items():
                for (i, fold), score in np.ndenumerate(values):
                    row = {"metric": metric, "model": name, "seed": self.seeds[i], "fold": fold}
                    row["score"] = score
                    if name in self.fit_times:
                        row["fit_time"] = self.fit_times[name][i, fold]
                    rows.append(row)
        return pd.DataFrame(rows)

    def summary(self, metric: str | None = None, *, reference: str = "best") -> pd.DataFrame:
        """Return means, and differences from a reference, with their intervals.

        Parameters
        ----------
        metric : str, default=None
            Name of the metric; None takes the first.
        reference : str, default="best"
            ``"best"``, ``"first"``, or the name of a model.

        Returns
        -------
        frame : pandas.DataFrame
            Indexed by model, best first: ``mean``, ``std`` (over folds and seeds), ``lower`` and
            ``upper`` (95 % interval of the mean), ``difference`` (model minus reference, paired),
            ``difference_lower``, ``difference_upper`` and ``p_value``; and the mean ``fit_time``
            where it is known. NaN where a single score has no interval, and in the row of the
            reference.

        Raises
        ------
        ImportError
            If pandas is not installed.
        InputError
            If there is no such metric or model.
        """
        pd = pandas_for(self)
        rows = self._summary_rows(metric, reference)
        return pd.DataFrame(rows).set_index("model")

    def _summary_rows(self, metric: str | None, reference: str) -> list[dict[str, Any]]:
        scores = self.scores[self._metric(metric)]
        against = scores[self._reference(metric, reference)]
        rows: list[dict[str, Any]] = []
        for name in sorted(scores, key=lambda name: -float(scores[name].mean())):
            every = scores[name].ravel()
            row: dict[str, Any] = {"model": name, "mean": float(every.mean())}
            row["std"] = float(every.std(ddof=1)) if len(every) > 1 else np.nan
            values = self._over_folds(scores[name])
            several = len(values) > 1
            row["lower"], row["upper"] = self._interval(values)
            differences = values - self._over_folds(against)
            row["difference"] = float(differences.mean())
            is_reference = scores[name] is against
            nothing = is_reference or not several
            row["difference_lower"], row["difference_upper"] = (
                (np.nan, np.nan) if nothing else self._interval(differences)
            )
            row["p_value"] = np.nan if nothing else corrected_p_value(differences, self.test_ratio)
            if name in self.fit_times:
                row["fit_time"] = float(self.fit_times[name].mean())
            rows.append(row)
        return rows

    def _over_folds(self, values: Floats) -> Floats:
        """Return the scores (n_seeds, n_folds) of different folds."""
        return values.mean(axis=0) if self.same_folds else values.ravel()

    def _interval(self, values: Floats) -> tuple[float, float]:
        if len(values) < 2:
            return np.nan, np.nan
        lower, upper = corrected_interval(values, self.test_ratio)
        return float(lower), float(upper)

    def plot(self, metric: str | None = None, **kwargs: Any) -> ComparisonDisplay:
        """Draw the scores.

        Parameters
        ----------
        metric : str, default=None
            Name of the metric; None takes the first.
        **kwargs : dict
            What ``plot`` of the Display takes: ``ax``, and ``reference`` for the differences.

        Returns
        -------
        display : ComparisonDisplay
            With ``ax_`` and ``figure_``.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        InputError
            If there is no such metric.
        """
        from sklearn_mmfusion.plotting import ComparisonDisplay

        metric = self._metric(metric)
        scores = {name: self._over_folds(v) for name, v in self.scores[metric].items()}
        display = ComparisonDisplay(scores, test_ratio=self.test_ratio, metric=metric)
        return display.plot(**kwargs)

    def _metric(self, metric: str | None) -> str:
        if metric is None:
            return self.metric_names[0]
        if metric not in self.scores:
            raise InputError(f"metric is {metric!r}; this comparison has {self.metric_names}")
        return metric

    def _reference(self, metric: str | None, reference: str) -> str:
        if reference in self.model_names:
            return reference
        if reference == "best":
            return self.best(metric)
        if reference == "first":
            return self.model_names[0]
        raise InputError(
            f"reference is {reference!r}; expected 'best', 'first' or one of {self.model_names}"
        )

    def __repr__(self) -> str:
        n_seeds, n_folds = next(iter(self.scores[self.metric_names[0]].values())).shape
        return (
            f"{type(self).__name__}(n_models={len(self.model_names)}, n_seeds={n_seeds}, "
            f"n_folds={n_folds}, metrics={self.metric_names})"
        )

    def _repr_html_(self) -> str:
        headings = ["model", "mean", "95 % interval", "difference from the best", "p"]
        rows = []
        for row in self._summary_rows(None, "best"):
            texts = [
                f"{row['mean']:.3f}",
                f"{row['lower']:.3f} to {row['upper']:.3f}",
                f"{row['difference']:+.3f}",
                "" if np.isnan(row["p_value"]) else f"{row['p_value']:.3f}",
            ]
            cells = "".join(f"<td>{text}</td>" for text in texts)
            rows.append(f"<th>{escape(row['model'])}</th>{cells}")
        notes = [f"Scores: {self.metric_names[0]}; intervals corrected for overlapping folds."]
        return html_table(repr(self), headings, rows, notes)
