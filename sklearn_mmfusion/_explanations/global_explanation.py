"""The explanation of a data set: relevance, contributions, routing and activations of each term."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion._explanations.base import ROUND_OFF, Explanation
from sklearn_mmfusion._explanations.tables import (
    HTML_COLUMNS,
    HTML_ROWS,
    html_table,
    long_frame,
    pandas_for,
    with_half_width,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GlobalExplanation"]


class GlobalExplanation(Explanation):
    r"""What a model does on a whole data set: relevance, spread and means over samples.

    ``explain_global`` of an estimator returns one.

    Parameters
    ----------
    data : mapping of str to arrays and lists
        With T terms, K outputs and J concepts, any of

        - ``kind``, ``term_names``, ``term_modalities``, ``output_names``, ``n_samples``;
        - ``relevance`` (T,);
        - ``contribution_std`` (T, K), the standard deviation of each contribution over the
          samples, in units of the output, and ``std_share`` (T,), the share of each term, all
          outputs together (root of the sum of squares), numeric targets in units of their scale;
        - ``mean_absolute_contribution`` (T, K) with ``mean_absolute_intervals`` (T, K, 2);
        - ``contribution_share`` (T,), the share of the mean absolute contribution;
        - of routing: ``concept_names``, ``uniform`` (1/J, the coefficient of uniform routing),
          ``routing_coefficients`` (T, J), ``activations`` (T,), ``routed_activations`` (T, J),
          each a mean with ``routing_intervals`` (T, J, 2), ``activation_intervals`` (T, 2) and
          ``routed_activation_intervals`` (T, J, 2).

    Attributes
    ----------
    data : dict of str to arrays and lists
        What was given, numbers as ndarrays.
    kind : str
        ``"relevance"``, ``"contribution"``, ``"routing"`` or ``"activation"``.
    uniform : float or None
        Coefficient of uniform routing, 1/J; None without concepts.
    significant : ndarray of bool of shape (n_terms, n_concepts) or None
        Where the interval of the routing coefficient excludes ``uniform``; None without routing.

    Raises
    ------
    InputError
        If a quantity has a shape that does not fit the names of terms, outputs and concepts.

    Notes
    -----
    Intervals are :math:`\bar r \pm 1.96 \, s / \sqrt n` over the samples [1]_. They speak of the
    mean over samples of this one model, not of how the model varies with the training set. An
    interval excludes 1/J if it stays away from it by more than 1e-6, which is round-off.

    References
    ----------
    .. [1] Tsai et al. (2020), Multimodal Routing, section 4.

    Examples
    --------
    >>> from sklearn_mmfusion import GlobalExplanation
    >>> GlobalExplanation({
    ...     "term_names": ["text", "audio"],
    ...     "output_names": ["happy"],
    ...     "relevance": [0.75, 0.25],
    ...     "contribution_std": [[1.5], [0.5]],
    ... })
    GlobalExplanation(kind='relevance', n_terms=2, n_outputs=1)
    """

    _scope = "global"
    _shapes = {
        "relevance": "T",
        "contribution_std": "TK",
        "std_share": "T",
        "mean_absolute_contribution": "TK",
        "mean_absolute_intervals": "TK2",
        "contribution_share": "T",
        "routing_coefficients": "TJ",
        "routing_intervals": "TJ2",
        "activations": "T",
        "activation_intervals": "T2",
        "routed_activations": "TJ",
        "routed_activation_intervals": "TJ2",
    }

    # Word in to_frame -> axes, and quantities by column, each with the key of its intervals.
    _tables: ClassVar[dict[str, tuple[tuple[str, ...], dict[str, tuple[str, str]]]]] = {
        "routing": (
            ("term", "concept"),
            {
                "routing": ("routing_coefficients", "routing_intervals"),
                "activation": ("activations", "activation_intervals"),
                "routed_activation": ("routed_activations", "routed_activation_intervals"),
            },
        ),
        "activation": (("term",), {"activation": ("activations", "activation_intervals")}),
        "contribution": (
            ("term", "output"),
            {
                "contribution_std": ("contribution_std", ""),
                "mean_absolute": ("mean_absolute_contribution", "mean_absolute_intervals"),
            },
        ),
        "relevance": (("term",), {}),
    }

    @property
    def significant(self) -> NDArray[np.bool_] | None:
        """Where the interval of a routing coefficient excludes uniform routing."""
        intervals, uniform = self._get("routing_intervals"), self.uniform
        if intervals is None or uniform is None:
            return None
        below = intervals[..., 1] < uniform - ROUND_OFF
        above = intervals[..., 0] > uniform + ROUND_OFF
        return np.asarray(below | above)

    def to_frame(self, quantity: str | None = None) -> pd.DataFrame:
        """Return the numbers as a long table.

        Parameters
        ----------
        quantity : str, default=None
            Which table, with the rows it has:

            - ``"routing"``: one per term and concept (``routing``, ``routing_low``,
              ``routing_high``, ``significant``, ``activation``, ``routed_activation`` and their
              ``_low`` and ``_high``);
            - ``"activation"``: one per term (``activation``, its ``_low`` and ``_high``);
            - ``"contribution"``: one per term and output (``contribution_std``; over data that
              were given also ``mean_absolute``, its ``_low`` and ``_high``);
            - ``"relevance"``: one per term.

            None takes the first of these that the estimator has. In all of them stands what a
            term has once: ``relevance``, ``std_share``, ``contribution_share``.

        Returns
        -------
        frame : pandas.DataFrame
            Only the quantities that the estimator has.

        Raises
        ------
        ImportError
            If pandas is not installed.
        InputError
            If there is no such table.
        """
        pd = pandas_for(self)
        there = self._tables_there()
        quantity = there[0] if quantity is None else quantity
        if quantity not in there:
            raise InputError(f"quantity is {quantity!r}; this explanation has {there}.")
        axes, quantities = self._tables[quantity]
        columns: dict[str, Any] = {}
        for word, (key, interval_key) in quantities.items():
            columns[word] = self._get(key)
            if (intervals := self._get(interval_key)) is not None:
                columns[f"{word}_low"], columns[f"{word}_high"] = np.moveaxis(intervals, -1, 0)
            if word == "routing":
                columns["significant"] = self.significant
        for key in ("relevance", "std_share", "contribution_share"):
            columns[key] = self._get(key)
        return long_frame(pd, {axis: self.data[f"{axis}_names"] for axis in axes}, columns)

    def _tables_there(self) -> list[str]:
        keys = {
            "routing": ("routing_coefficients", "routed_activations"),
            "activation": ("activations",),
            "contribution": ("contribution_std", "mean_absolute_contribution"),
        }
        there = [
            word for word, some in keys.items() if any(self._get(key) is not None for key in some)
        ]
        return [*there, "relevance"]

    def _repr_html_(self) -> str:
        routing = self._get("routing_coefficients")
        concepts = [] if routing is None else list(self.data["concept_names"])[:HTML_COLUMNS]
        per_term, n_hidden = self._columns(is_routed=routing is not None)
        intervals, significant = self._get("routing_intervals"), self.significant
        rows = []
        for term, name in enumerate(self.data["term_names"][:HTML_ROWS]):
            cells = [f"<th>{escape(str(name))}</th>"]
            for concept in range(len(concepts)):
                interval = None if intervals is None else intervals[term, concept]
                text = with_half_width(routing[term, concept], interval)
                marked = significant is not None and significant[term, concept]
                cells.append(f"<td><b>{text}</b></td>" if marked else f"<td>{text}</td>")
            for _, values, ends in per_term:
                text = with_half_width(values[term], None if ends is None else ends[term])
                cells.append(f"<td>{text}</td>")
            rows.append("".join(cells))
        notes = []
        if significant is not None and concepts:
            notes.append(f"Bold: the 95 % interval excludes uniform routing, {self.uniform:.3g}.")
        if (more := len(self.data["term_names"]) - HTML_ROWS) > 0:
            notes.append(f"{more} more terms are not shown.")
        if concepts and (more := len(self.data["concept_names"]) - HTML_COLUMNS) > 0:
            notes.append(f"{more} more concepts are not shown.")
        if n_hidden:
            notes.append(f"{n_hidden} more columns are not shown.")
        headings = ["term", *concepts, *[word for word, _, _ in per_term]]
        return html_table(repr(self), headings, rows, notes)

    def _columns(self, *, is_routed: bool) -> tuple[list[tuple[str, Any, Any]], int]:
        """Return headings, values and intervals of the columns beside routing; how many hide."""
        columns = [
            (heading, self.data[key], self._get(interval_key))
            for heading, key, interval_key in (
                ("activation", "activations", "activation_intervals"),
                ("relevance", "relevance", ""),
                ("share of contribution", "contribution_share", ""),
                ("share of std", "" if is_routed else "std_share", ""),
            )
            if self._get(key) is not None
        ]
        if is_routed:
            return columns, 0
        single = len(self._get("output_names") or ()) == 1
        for heading, key, interval_key in (
            ("std of contribution", "contribution_std", ""),
            ("mean absolute contribution", "mean_absolute_contribution", "mean_absolute_intervals"),
        ):
            if (values := self._get(key)) is None:
                continue
            intervals = self._get(interval_key)
            for output, name in enumerate(self.data["output_names"]):
                ends = None if intervals is None else intervals[:, output]
                said = heading if single else f"{heading}: {name}"
                columns.append((said, values[:, output], ends))
        return columns[:HTML_COLUMNS], max(len(columns) - HTML_COLUMNS, 0)
