"""The picture of single predictions: how contributions lead from the intercept to the decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sklearn_mmfusion._errors import InputError, InputTypeError
from sklearn_mmfusion._explanations import LocalExplanation
from sklearn_mmfusion.plotting._bars import refuse_drawn
from sklearn_mmfusion.plotting._fits import pandas_or_say, refuse_estimator
from sklearn_mmfusion.plotting._samples import explain_samples
from sklearn_mmfusion.plotting._waterfall import Steps, draw_panels, new_panels

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["ContributionDisplay"]

KINDS = ("waterfall", "bars")
MAX_SAMPLES = 6


class ContributionDisplay:
    r"""Contributions of the terms to single predictions, from the intercept to the decision.

    Make one with :meth:`from_estimator`, or with ``.plot()`` of what ``explain_local`` returns.
    Each sample has a panel. As a waterfall, the bar of a term begins where the one above it
    ends; as bars, all begin at 0. Blue raises the output, vermilion lowers it, and the signs say
    so too.

    Parameters
    ----------
    explanation : LocalExplanation or mapping
        What to draw; it needs ``contributions``, ``intercept`` and ``decision``.

    Attributes
    ----------
    explanation : LocalExplanation
        What was given.
    ax_ : matplotlib Axes
        The panel of the first sample; after :meth:`plot`.
    axes_ : ndarray of matplotlib Axes of shape (n_samples,)
        All panels; after :meth:`plot`.
    figure_ : matplotlib Figure
        The figure that holds them; after :meth:`plot`.

    Raises
    ------
    InputError
        If there are no contributions.
    InputTypeError
        If ``explanation`` is neither a local explanation nor a mapping.

    See Also
    --------
    RoutingDisplay : Routing coefficients of single samples.

    Notes
    -----
    The panels share the order of the terms: those with the largest contribution to any of the
    samples come first. What is left out is drawn as one bar, so that the steps still add up.

    Examples
    --------
    >>> from sklearn_mmfusion.plotting import ContributionDisplay
    >>> display = ContributionDisplay({
    ...     "term_names": ["text", "audio"],
    ...     "output_names": ["happy"],
    ...     "sample_index": [7],
    ...     "contributions": [[[0.5], [-0.25]]],
    ...     "intercept": [0.25],
    ...     "decision": [[0.5]],
    ... })
    >>> display.explanation.deviation
    0.0
    """

    def __init__(self, explanation: LocalExplanation | Mapping[str, Any]) -> None:
        refuse_estimator(self, explanation, "from_estimator(estimator, X)")
        if isinstance(explanation, Mapping):
            explanation = LocalExplanation(explanation)
        if not isinstance(explanation, LocalExplanation):
            raise InputTypeError(
                f"explanation is a {type(explanation).__name__}; expected what explain_local "
                "returns, or a mapping with the same keys."
            )
        keys = ("contributions", "intercept", "decision", "output_names")
        lacking = [key for key in keys if explanation.data.get(key) is None]
        if lacking:
            raise InputError(f"the explanation has no {', '.join(lacking)}; expected all of {keys}")
        self.explanation: LocalExplanation = explanation

    @classmethod
    def from_explanation(cls, explanation: LocalExplanation) -> Self:
        """Return the display of an explanation, not yet drawn.

        Parameters
        ----------
        explanation : LocalExplanation
            What ``explain_local`` returned.

        Returns
        -------
        display : ContributionDisplay
            The display; call :meth:`plot`.
        """
        return cls(explanation)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        samples: Sequence[int] | None = None,
        output: Any = None,
        kind: str = "waterfall",
        max_terms: int | None = 10,
        ax: Axes | Sequence[Axes] | None = None,
    ) -> Self:
        """Draw how a fitted estimator comes to its predictions of chosen samples.

        Parameters
        ----------
        estimator : fitted estimator
            An estimator with ``explain_local``, or a Pipeline or a search that ends in one.
        X : mapping, ModalityFrame, DataFrame or array
            Data to explain, in a form that ``predict`` takes.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            True target, for the titles.
        samples : sequence of int, default=None
            Positions of at most 6 rows of ``X``; None draws all rows.
        output : object, default=None
            Which output, as in :meth:`plot`.
        kind : {"waterfall", "bars"}, default="waterfall"
            What bars begin at, as in :meth:`plot`.
        max_terms : int, default=10
            Largest number of terms with a bar of their own, as in :meth:`plot`.
        ax : matplotlib Axes or sequence of them, default=None
            Where to draw, as in :meth:`plot`.

        Returns
        -------
        display : ContributionDisplay
            With ``ax_``, ``axes_`` and ``figure_``.

        Raises
        ------
        InputTypeError
            If the estimator can't be explained.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        explanation = explain_samples(estimator, X, y, samples)
        return cls(explanation).plot(ax, output=output, kind=kind, max_terms=max_terms)

    def frame(self, *, output: Any = None, max_terms: int | None = None) -> pd.DataFrame:
        """Return the steps of the waterfalls as a long table.

        Parameters
        ----------
        output : object, default=None
            Which output, as in :meth:`plot`.
        max_terms : int, default=None
            Largest number of terms with a row of their own; None has a row for each.

        Returns
        -------
        frame : pandas.DataFrame
            One row per sample and step, in the order of the picture: ``sample``, ``output``,
            ``step`` ("intercept", the terms, "decision"), ``value``, ``start`` and ``end``.

        Raises
        ------
        ImportError
            If pandas is not installed.
        InputError
            If there is no such output.
        """
        pd = pandas_or_say(type(self).__name__, ".explanation.data")
        steps = self._steps(output, max_terms)
        n, n_steps = steps.values.shape
        return pd.DataFrame(
            {
                "sample": pd.Index(self.explanation.sample_names, tupleize_cols=False).repeat(
                    n_steps
                ),
                "output": np.repeat(steps.outputs, n_steps),
                "step": steps.labels * n,
                "value": steps.values.ravel(),
                "start": steps.starts.ravel(),
                "end": (steps.starts + steps.values).ravel(),
            }
        )

    def plot(
        self,
        ax: Axes | Sequence[Axes] | None = None,
        *,
        output: Any = None,
        kind: str = "waterfall",
        max_terms: int | None = 10,
    ) -> Self:
        """Draw a panel per sample.

        Parameters
        ----------
        ax : matplotlib Axes or sequence of them, default=None
            Where to draw, one per sample; None makes a figure of fitting size.
        output : object, default=None
            Name of the output: a class, a label, a target. None takes for each sample the output
            with the largest decision, which is the predicted class; of a regressor the first.
        kind : {"waterfall", "bars"}, default="waterfall"
            Whether the bar of a term begins where the one above it ends, with intercept and
            decision at top and bottom, or at 0.
        max_terms : int, default=10
            Largest number of terms with a bar of their own; the others share one. None gives each
            its own.

        Returns
        -------
        display : ContributionDisplay
            Itself, with ``ax_``, ``axes_`` and ``figure_``.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        InputError
            If there is no such output or kind, ``max_terms`` is below 1, ``ax`` does not hold one
            Axes per sample or one that holds a drawing already, or there are no samples or more
            than 6.
        """
        if kind not in KINDS:
            raise InputError(f"kind is {kind!r}; expected one of {KINDS}")
        n = len(self.explanation)
        if not 1 <= n <= MAX_SAMPLES:
            raise InputError(
                f"There are {n} samples to draw; choose 1 to {MAX_SAMPLES} of them, for "
                f"example explanation[:{MAX_SAMPLES}]."
            )
        steps = self._steps(output, max_terms)
        if kind == "bars":
            steps = steps.without_ends()
        axes = new_panels(steps) if ax is None else np.asarray(ax, dtype=object).reshape(-1)
        if axes.shape != (n,):
            raise InputError(f"ax holds {axes.size} Axes, for {n} samples; give one each.")
        for panel in axes:
            refuse_drawn(panel)
        self.axes_, self.ax_, self.figure_ = axes, axes[0], axes[0].figure
        word = "prediction" if self.explanation.is_regression else "decision"
        draw_panels(axes, steps, [self._title(row) for row in range(n)], word)
        return self

    def _steps(self, output: Any, max_terms: int | None) -> Steps:
        """Return values and starts of all bars of the waterfalls."""
        if max_terms is not None and max_terms < 1:
            raise InputError(f"max_terms is {max_terms}; expected at least 1, or None for all.")
        data, chosen = self.explanation.data, self._outputs(output)
        rows = np.arange(len(chosen))
        terms = data["contributions"][rows, :, chosen]
        sizes = np.abs(terms).max(axis=0) if len(terms) else np.zeros(terms.shape[1])
        ranked = np.argsort(-sizes, kind="stable")
        n_shown = len(ranked) if max_terms is None else max_terms
        if len(ranked) - n_shown == 1:
            n_shown += 1  # its own bar takes no more room than that of one other term
        shown, others = ranked[:n_shown], ranked[n_shown:]
        parts = [data["intercept"][chosen][:, np.newaxis], terms[:, shown]]
        labels = ["intercept", *(str(data["term_names"][term]) for term in shown)]
        if len(others):
            parts.append(terms[:, others].sum(axis=1, keepdims=True))
            labels.append(f"{len(others)} other terms")
        changes = np.hstack(parts)
        ends = changes.cumsum(axis=1)
        starts = np.hstack([np.zeros((len(rows), 1)), ends[:, :-1], np.zeros((len(rows), 1))])
        values = np.hstack([changes, data["decision"][rows, chosen][:, np.newaxis]])
        names = [data["output_names"][k] for k in chosen]
        absent = np.zeros(values.shape, dtype=np.bool_)
        if data.get("absent") is not None:
            absent[:, 1 : 1 + len(shown)] = data["absent"][:, shown]
            if len(others):
                absent[:, 1 + len(shown)] = data["absent"][:, others].all(axis=1)
        word = "prediction" if self.explanation.is_regression else "decision"
        return Steps([*labels, word], values, starts, names, absent)

    def _outputs(self, output: Any) -> np.ndarray:
        names, n = list(self.explanation.data["output_names"]), len(self.explanation)
        if output is not None:
            matches = [k for k, name in enumerate(names) if name == output]
            if not matches:
                raise InputError(f"output is {output!r}; this explanation has {names}.")
            return np.full(n, matches[0])
        if self.explanation.is_regression:
            return np.zeros(n, dtype=np.intp)
        chosen: np.ndarray = self.explanation.data["decision"].argmax(axis=1)
        return chosen

    def _title(self, row: int) -> list[str]:
        lines = [f"sample {self.explanation.sample_names[row]}"]
        for word, key in (("predicted", "predicted"), ("true", "y")):
            if self.explanation.data.get(key) is not None:
                lines.append(f"{word}: {self.explanation.label_text(row, key)}")
        return lines
