"""The picture of routing: a heat map of terms by concepts, of a data set or of single samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sklearn_mmfusion._errors import InputError, InputTypeError
from sklearn_mmfusion._explanations import GlobalExplanation, LocalExplanation
from sklearn_mmfusion._inputs.unwrap import unwrap
from sklearn_mmfusion.plotting._bars import refuse_drawn
from sklearn_mmfusion.plotting._fits import refuse_estimator
from sklearn_mmfusion.plotting._heat_maps import MAX_SAMPLES, QUANTITIES, Grid
from sklearn_mmfusion.plotting._samples import explain_samples

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["RoutingDisplay"]


class RoutingDisplay:
    r"""Heat map of how much each term is routed to each concept.

    Make one with :meth:`from_estimator`, or with ``.plot()`` of what ``explain_global`` and
    ``explain_local`` return. For a data set it is one heat map of means over the samples, with
    their 95 % intervals; for chosen samples, a row of small heat maps.

    Parameters
    ----------
    explanation : GlobalExplanation, LocalExplanation or mapping
        What to draw. A mapping of arrays with the keys of either is taken for a local explanation
        if it has ``sample_index``.

    Attributes
    ----------
    explanation : GlobalExplanation or LocalExplanation
        What was given.
    ax_ : matplotlib Axes
        The heat map, of several samples the first; after :meth:`plot`.
    axes_ : ndarray of matplotlib Axes of shape (n_heat_maps,)
        All heat maps; after :meth:`plot`.
    figure_ : matplotlib Figure
        The figure that holds them; after :meth:`plot`.

    Raises
    ------
    InputError
        If a quantity has a shape that does not fit the names of terms and concepts.
    InputTypeError
        If ``explanation`` is neither an explanation nor a mapping.

    See Also
    --------
    RoutingDisplay.from_estimator : Draw the routing of a fitted estimator.
    RelevanceDisplay : Bars of one relevance per term.

    Notes
    -----
    A routing coefficient reads against uniform routing, :math:`1/J` with :math:`J` concepts: white
    in the heat map. A mean whose interval excludes :math:`1/J` is printed bold. A term that is not
    used has coefficients of :math:`1/J` too, so beside the heat map stand the activation of the
    term and its share of the mean absolute contribution.

    Numbers are left out where they would not be readable: the half-widths of the intervals above
    6 concepts, the means above 12 concepts or 30 terms. In cells without a number, a triangle
    points up or down where the interval lies above or below :math:`1/J`.

    References
    ----------
    .. [1] Tsai et al. (2020), Multimodal Routing, tables 2 and 3 and figure 3.

    Examples
    --------
    >>> from sklearn_mmfusion.plotting import RoutingDisplay
    >>> display = RoutingDisplay({
    ...     "term_names": ["text", "audio"],
    ...     "concept_names": ["sad", "happy"],
    ...     "routing_coefficients": [[0.7, 0.3], [0.52, 0.48]],
    ... })
    >>> display.explanation
    GlobalExplanation(kind='routing', n_terms=2, n_concepts=2)
    """

    def __init__(
        self, explanation: GlobalExplanation | LocalExplanation | Mapping[str, Any]
    ) -> None:
        refuse_estimator(self, explanation, "from_estimator(estimator)")
        if isinstance(explanation, Mapping):
            local = "sample_index" in explanation
            explanation = (LocalExplanation if local else GlobalExplanation)(explanation)
        if not isinstance(explanation, GlobalExplanation | LocalExplanation):
            raise InputTypeError(
                f"explanation is a {type(explanation).__name__}; expected what explain_global or "
                "explain_local returns, or a mapping with the same keys."
            )
        self.explanation: GlobalExplanation | LocalExplanation = explanation

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any = None,
        y: Any = None,
        *,
        samples: Sequence[int] | None = None,
        quantity: str | None = None,
        ax: Axes | Sequence[Axes] | None = None,
    ) -> Self:
        """Draw the routing of a fitted estimator, over a data set or of chosen samples.

        Parameters
        ----------
        estimator : fitted estimator
            An estimator with ``explain_global`` and ``explain_local``, or a Pipeline or a search
            that ends in one.
        X : mapping, ModalityFrame, DataFrame or array, default=None
            Data to explain, in a form that ``predict`` takes; None stands for the training set.
        y : array-like of shape (n_samples,) or (n_samples, n_labels), default=None
            True labels, for the titles of samples.
        samples : sequence of int, default=None
            Positions of at most 8 rows of ``X``, each to be drawn on its own; None draws the means
            over all rows.
        quantity : {"routing", "activation", "routed_activation"}, default=None
            What to draw, as in :meth:`plot`.
        ax : matplotlib Axes or sequence of them, default=None
            Where to draw, as in :meth:`plot`.

        Returns
        -------
        display : RoutingDisplay
            With ``ax_``, ``axes_`` and ``figure_``.

        Raises
        ------
        InputError
            If ``samples`` is given without ``X``, or the estimator neither routes nor has
            activations.
        InputTypeError
            If the estimator can't be explained.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        if samples is not None:
            if X is None:
                raise InputError("samples are positions in X, and X is None; give X as well.")
            return cls(explain_samples(estimator, X, y, samples)).plot(ax, quantity=quantity)
        estimator, X = unwrap(estimator, X, attribute="explain_global")
        return cls(estimator.explain_global(X)).plot(ax, quantity=quantity)

    @classmethod
    def from_explanation(cls, explanation: GlobalExplanation | LocalExplanation) -> Self:
        """Return the display of an explanation, not yet drawn.

        Parameters
        ----------
        explanation : GlobalExplanation or LocalExplanation
            What ``explain_global`` or ``explain_local`` returned.

        Returns
        -------
        display : RoutingDisplay
            The display; call :meth:`plot`.
        """
        return cls(explanation)

    def frame(self, quantity: str | None = None) -> pd.DataFrame:
        """Return the numbers behind the picture, as a long table.

        Parameters
        ----------
        quantity : {"routing", "activation", "routed_activation"}, default=None
            Which numbers of samples, as in :meth:`plot`; the table of a data set has them all.

        Returns
        -------
        frame : pandas.DataFrame
            What ``to_frame`` of the explanation returns.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        if isinstance(self.explanation, LocalExplanation):
            return self.explanation.to_frame(self._checked(quantity))
        return self.explanation.to_frame()

    def plot(self, ax: Axes | Sequence[Axes] | None = None, *, quantity: str | None = None) -> Self:
        """Draw the heat map or heat maps.

        Parameters
        ----------
        ax : matplotlib Axes or sequence of them, default=None
            Where to draw, one per heat map; None makes a figure of fitting size.
        quantity : {"routing", "activation", "routed_activation"}, default=None
            Routing coefficients, activations, or their products. None draws the routing
            coefficients if there are any, else the activations.

        Returns
        -------
        display : RoutingDisplay
            Itself, with ``ax_``, ``axes_`` and ``figure_``.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        InputError
            If there is no such quantity, ``ax`` does not hold one Axes per heat map or one that
            holds a drawing already, or there are no samples or more than 8.
        """
        quantity = self._checked(quantity)
        local = isinstance(self.explanation, LocalExplanation)
        n_maps = len(self.explanation.data["sample_index"]) if local else 1
        if not 1 <= n_maps <= MAX_SAMPLES:
            raise InputError(
                f"There are {n_maps} samples to draw; choose 1 to {MAX_SAMPLES} of them, for "
                f"example explanation[:{MAX_SAMPLES}]."
            )
        values = np.asarray(self.explanation.data[QUANTITIES[quantity][0]], dtype=np.float64)
        if quantity == "activation":
            values = values[..., np.newaxis]
        # From here on one heat map per row: (n_maps, n_terms, n_columns).
        values = values if local else values[np.newaxis]
        grid = Grid(self.explanation, quantity, values)
        axes = grid.new_axes() if ax is None else np.asarray(ax, dtype=object).reshape(-1)
        if axes.shape != (n_maps,):
            raise InputError(f"ax holds {axes.size} Axes, for {n_maps} heat maps; give one each.")
        for panel in axes:
            refuse_drawn(panel)
        self.axes_, self.ax_, self.figure_ = axes, axes[0], axes[0].figure
        if ax is not None:
            grid.fit_into(self.ax_)
        for position, panel in enumerate(axes):
            grid.draw(panel, position)
        grid.draw_color_bar(axes)
        return self

    def _checked(self, quantity: str | None) -> str:
        data = self.explanation.data
        there = [word for word, (key, *_) in QUANTITIES.items() if data.get(key) is not None]
        if not there:
            raise InputError(
                "explanation: expected routing coefficients or activations, got an explanation of "
                f"kind {self.explanation.kind!r}, which has neither. RoutingDisplay is for "
                "RoutingClassifier and GAMClassifier; use RelevanceDisplay or ContributionDisplay "
                "for other estimators."
            )
        quantity = there[0] if quantity is None else quantity
        if quantity not in there:
            raise InputError(f"quantity is {quantity!r}; this explanation has {there}.")
        return quantity
