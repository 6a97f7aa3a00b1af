"""The explanation of single samples: what each term added to each decision."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion._explanations.base import ROUND_OFF, Explanation
from sklearn_mmfusion._explanations.tables import (
    HTML_ROWS,
    html_table,
    is_label,
    long_frame,
    pandas_for,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LocalExplanation"]

HTML_TERMS = 3  # largest contributions named per sample
HTML_OUTPUTS = 4  # targets shown per sample of a regressor


class LocalExplanation(Explanation):
    """What a model does with single samples.

    ``explain_local`` of an estimator returns one. ``explanation[3]`` and ``explanation[:5]``
    (positions, slices, lists of positions, masks) are explanations of those samples; labels of rows
    are for display and select nothing.

    Parameters
    ----------
    data : mapping of str to arrays and lists
        With n samples, T terms and K outputs (for binary targets one output, the logit of
        ``classes_[1]``): ``term_names``, ``output_names``, ``sample_index`` (n,), and any of

        - ``sample_labels`` (n,), labels of the rows where the data have them, to be shown in place
          of ``sample_index``;
        - ``kind``, ``term_modalities``, ``class_names``, and ``target``, the kind of the target:
          ``"binary"``, ``"multiclass"``, ``"multilabel"`` or ``"regression"``;
        - ``contributions`` (n, T, K), ``intercept`` (K,), ``decision`` (n, K): the logits, of a
          regressor the predictions; ``probabilities`` (n, n_classes), ``predicted`` and ``y``
          (n,), for several labels or targets (n, n_outputs);
        - ``absent`` (n, T), the terms that are 0 since the row lacks one of their modalities;
        - of routing, with J concepts: ``concept_names``, ``routing_coefficients`` (n, T, J),
          ``activations`` (n, T), ``routed_activations`` (n, T, J).

    Attributes
    ----------
    data : dict of str to arrays and lists
        What was given, numbers as ndarrays.
    kind : str
        ``"relevance"``, ``"contribution"``, ``"routing"`` or ``"activation"``.
    sample_names : list
        What each sample is called: its label, or else its ``sample_index``.
    uniform : float or None
        Coefficient of uniform routing, 1/J; None without concepts.
    deviation : float or None
        Largest absolute difference between ``decision`` and intercept plus contributions; None
        if one of them is not there, or there are no samples.

    Raises
    ------
    InputError
        If a quantity has a shape that does not fit the names of samples, terms, concepts and
        outputs.

    Examples
    --------
    >>> from sklearn_mmfusion import LocalExplanation
    >>> explanation = LocalExplanation({
    ...     "term_names": ["text", "audio"],
    ...     "output_names": ["happy"],
    ...     "sample_index": [0, 1],
    ...     "contributions": [[[0.5], [0.25]], [[-1.0], [0.5]]],
    ...     "intercept": [0.25],
    ...     "decision": [[1.0], [-0.25]],
    ... })
    >>> explanation.deviation
    0.0
    >>> explanation[1]
    LocalExplanation(kind='contribution', n_samples=1, n_terms=2, n_outputs=1)
    """

    _scope = "local"
    _shapes = {
        "sample_index": "n",
        "sample_labels": "n",
        "routing_coefficients": "nTJ",
        "activations": "nT",
        "routed_activations": "nTJ",
        "absent": "nT",
        "contributions": "nTK",
        "intercept": "K",
        "decision": "nK",
        "probabilities": "n*",
        "predicted": "n*",
        "y": "n*",
    }

    # Word in to_frame -> quantity and its axes.
    _tables = {
        "contribution": ("contributions", ("sample", "term", "output")),
        "routing": ("routing_coefficients", ("sample", "term", "concept")),
        "activation": ("activations", ("sample", "term")),
        "routed_activation": ("routed_activations", ("sample", "term", "concept")),
        "decision": ("decision", ("sample", "output")),
        "probability": ("probabilities", ("sample", "concept")),
    }

    def __init__(self, data: Mapping[str, Any]) -> None:
        if data.get("sample_index") is None:
            raise InputError(f"A local explanation needs sample_index; got only {sorted(data)}.")
        super().__init__(data)

    def __len__(self) -> int:
        return len(self.data["sample_index"])

    def __getitem__(self, rows: Any) -> Self:
        try:
            positions = np.atleast_1d(np.arange(len(self))[rows])
        except IndexError as error:
            raise IndexError(
                f"{error}; rows are taken by position, got {rows!r}: that of a label is "
                ".sample_names.index(label)"
            ) from None
        data = dict(self.data)
        for key, letters in self._shapes.items():
            if letters.startswith("n") and data.get(key) is not None:
                data[key] = data[key][positions]
        return type(self)(data)

    @property
    def sample_names(self) -> list[Any]:
        """What each sample is called."""
        labelled = self._get("sample_labels") is not None
        return list(self.data["sample_labels" if labelled else "sample_index"])

    @property
    def deviation(self) -> float | None:
        """Largest difference between the decision and the sum of its parts."""
        parts = [self._get(key) for key in ("contributions", "intercept", "decision")]
        if len(self) == 0 or any(part is None for part in parts):
            return None
        contributions, intercept, decision = parts
        return float(np.abs(intercept + contributions.sum(axis=1) - decision).max())

    def to_frame(self, quantity: str | None = None) -> pd.DataFrame:
        """Return one quantity as a long table, each number once.

        Parameters
        ----------
        quantity : str, default=None
            Which table, with the rows it has:

            - ``"contribution"``: one per sample, term and output (``contribution``);
            - ``"routing"`` and ``"routed_activation"``: one per sample, term and concept;
            - ``"activation"``: one per sample and term;
            - ``"decision"``: one per sample and output (``decision``, and what adds up to it:
              ``contributions``, their sum over the terms, and ``intercept``, which is the same
              for all samples);
            - ``"probability"``: one per sample and concept, or ``class`` where there are no
              concepts (``probability``; ``predicted`` and ``true``, whether it is the predicted
              and the true one).

            None takes the first of these that the estimator has.

        Returns
        -------
        frame : pandas.DataFrame
            ``sample`` is the label of the row in the index of the data that were explained, of
            data without labels its position.

        Raises
        ------
        ImportError
            If pandas is not installed.
        InputError
            If there is no such quantity.
        """
        pd = pandas_for(self)
        there = [word for word, (key, _) in self._tables.items() if self._get(key) is not None]
        if quantity is None and there:
            quantity = there[0]
        if quantity not in there:
            raise InputError(f"quantity is {quantity!r}; this explanation has {there}.")
        key, letters = self._tables[quantity]
        values = self.data[key]
        axes = {axis: self._names(axis) for axis in letters if self._has(axis)}
        columns = {quantity: values}
        if quantity == "decision" and self.deviation is not None:
            sums = self.data["contributions"].sum(axis=1)
            intercept = np.broadcast_to(self.data["intercept"], sums.shape)
            columns = {"intercept": intercept, "contributions": sums, "decision": values}
        if quantity == "probability":
            axis = "class" if self._get("concept_names") is None else "concept"
            axes = {"sample": axes["sample"], axis: self._label_names(values.shape[1])}
            for word, labels_key in (("predicted", "predicted"), ("true", "y")):
                if (labels := self._get(labels_key)) is not None:
                    columns[word] = is_label(labels, axes[axis])
        return long_frame(pd, axes, columns)

    def _names(self, axis: str) -> list[Any]:
        return self.sample_names if axis == "sample" else list(self.data[f"{axis}_names"])

    def _has(self, axis: str) -> bool:
        return axis != "concept" or self._get("concept_names") is not None

    @property
    def is_regression(self) -> bool:
        """Whether predictions are numbers; decisions are these predictions then."""
        return self._get("target") == "regression"

    def label_text(self, row: int, key: str) -> str:
        """Return the label of one sample in words; of a multilabel sample, all its labels.

        Of a regressor, the numbers.

        Parameters
        ----------
        row : int
            Position of the sample in the explanation.
        key : {"predicted", "y"}
            Which label.

        Returns
        -------
        text : str
            Names joined by commas; ``"none"`` for a multilabel sample without labels.
        """
        label = self.data[key][row]
        if self.is_regression:
            return ", ".join(f"{number:.4g}" for number in np.atleast_1d(label))
        if np.ndim(label) == 0:
            return str(label)
        names = self._label_names(len(label))
        return ", ".join(str(name) for name, on in zip(names, label, strict=True) if on) or "none"

    def _label_names(self, count: int) -> list[Any]:
        """Return the names of `count` labels: concepts, classes, or outputs if they are fewer."""
        for key in ("concept_names", "class_names", "output_names"):
            if self._get(key) is not None and len(self.data[key]) == count:
                return list(self.data[key])
        return list(range(count))

    def _largest_contributions(self, row: int, output: int) -> list[str]:
        """Return an output with its decision, the intercept and the terms that made it."""
        parts = self.data["contributions"][row, :, output]
        largest = np.argsort(-np.abs(parts), kind="stable")[:HTML_TERMS]
        absent = self._get("absent")
        named = [
            f"{self.data['term_names'][term]} "
            + ("missing" if absent is not None and absent[row, term] else f"{parts[term]:+.3g}")
            for term in largest
        ]
        return [
            str(self.data["output_names"][output]),
            f"{self.data['decision'][row, output]:+.3g}",
            f"{self.data['intercept'][output]:+.3g}",
            ", ".join(named),
        ]

    @property
    def _decision_word(self) -> str:
        return "prediction" if self.is_regression else "decision"

    def _sum_in_words(self) -> str:
        size = max(1.0, float(np.abs(self.data["decision"]).max()))
        adds_up = self.deviation is not None and self.deviation <= ROUND_OFF * size
        verb = "add up" if adds_up else "do NOT add up"
        return (
            f"Intercept and the contributions of all {len(self.data['term_names'])} terms {verb} "
            f"to the {self._decision_word}; largest deviation {self.deviation:.1e}."
        )

    def __str__(self) -> str:
        return repr(self) if self.deviation is None else f"{self!r}\n{self._sum_in_words()}"

    def _repr_html_(self) -> str:
        adds_up = self.deviation is not None
        # What a regressor predicts is its decision.
        said = ("y",) if adds_up and self.is_regression else ("y", "predicted")
        labels = [key for key in said if self._get(key) is not None]
        headings = ["sample", *["true" if key == "y" else key for key in labels]]
        if adds_up:
            headings += ["output", self._decision_word, "intercept", "largest contributions"]
        rows, names = [], self.sample_names
        for row in range(min(len(self), HTML_ROWS)):
            texts = [str(names[row])]
            texts += [self.label_text(row, key) for key in labels]
            for output in self._outputs_to_show(row) if adds_up else [None]:
                parts = [] if output is None else self._largest_contributions(row, output)
                rows.append("".join(f"<td>{escape(text)}</td>" for text in [*texts, *parts]))
        notes = [self._sum_in_words()] if adds_up else []
        if (more := len(self) - HTML_ROWS) > 0:
            notes.append(f"{more} more samples are not shown.")
        if adds_up and self.is_regression:
            more = len(self.data["output_names"]) - HTML_OUTPUTS
            notes += [f"{more} more outputs are not shown."] if more > 0 else []
        return html_table(Explanation.__repr__(self), headings, rows, notes)

    def _outputs_to_show(self, row: int) -> list[int]:
        """Return the output with the largest decision; of a regressor, the first few."""
        if self.is_regression:
            return list(range(min(len(self.data["output_names"]), HTML_OUTPUTS)))
        return [int(np.argmax(self.data["decision"][row]))]
