"""Explanation objects: the numbers behind a fitted model, as arrays, table, picture and HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from sklearn_mmfusion._errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Explanation", "GlobalExplanation", "LocalExplanation"]

# The one registry of Displays: kind of explanation -> name in sklearn_mmfusion.plotting.
DISPLAYS = {"routing": "RoutingDisplay", "activation": "RoutingDisplay"}

# Coefficients that were never adjusted are 1/J up to round-off, and so are all of a term that
# is not used: an interval as narrow as that round-off says nothing. Single precision has 1e-7.
ROUND_OFF = 1e-6
HTML_ROWS = 20
HTML_COLUMNS = 12
HTML_TERMS = 3  # largest contributions named per sample


class Explanation:
    """Base class of what ``explain_global`` and ``explain_local`` return.

    Parameters
    ----------
    data : mapping of str to arrays and lists
        The quantities, by name; a quantity that is None or not there is one that the estimator
        does not have. Which names there are, each subclass says.

    Attributes
    ----------
    data : dict of str to arrays and lists
        What was given, numbers as ndarrays.
    uniform : float or None
        Coefficient of uniform routing, 1/J; None without concepts.

    Raises
    ------
    InputError
        If a quantity has a shape that does not fit the names of terms, concepts and outputs.
    """

    # Quantity -> letters of its axes: n samples, T terms, J concepts, K outputs, 2 ends of an
    # interval; "*" leaves the other axes open.
    _shapes: Mapping[str, str] = {}

    def __init__(self, data: Mapping[str, Any]) -> None:
        if data.get("term_names") is None:
            raise InputError(f"An explanation needs term_names; got only {sorted(data)}.")
        self.data = dict(data)
        sizes = {"T": len(data["term_names"]), "2": 2}
        for letter, key in (("J", "concept_names"), ("K", "output_names"), ("n", "sample_index")):
            if data.get(key) is not None:
                sizes[letter] = len(data[key])
        for key, letters in self._shapes.items():
            if data.get(key) is None:
                continue
            self.data[key] = array = np.asarray(data[key])
            expected = tuple(sizes.get(letter, -1) for letter in letters.rstrip("*"))
            found = array.shape[: len(expected)] if letters.endswith("*") else array.shape
            if found != expected:
                raise InputError(
                    f"{key} has shape {array.shape}; expected ({', '.join(letters)}) with "
                    + ", ".join(f"{letter} = {size}" for letter, size in sizes.items() if size != 2)
                    + ": one per name of samples, terms, concepts and outputs."
                )

    def plot(self, **kwargs: Any) -> Any:
        """Draw the explanation.

        Parameters
        ----------
        **kwargs : dict
            What ``plot`` of the Display takes, for example ``quantity`` and ``ax``.

        Returns
        -------
        display : Display
            For explanations of routing and of activations without routing, a
            :class:`~sklearn_mmfusion.plotting.RoutingDisplay`.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        InputError
            If there is no picture of this kind of explanation.
        """
        # Displays stand above explanations, so this import goes up: at the call only.
        from sklearn_mmfusion import plotting

        if self._kind not in DISPLAYS:
            raise InputError(f"kind is {self._kind!r}; there are pictures of {sorted(DISPLAYS)}.")
        return getattr(plotting, DISPLAYS[self._kind])(self).plot(**kwargs)

    @property
    def uniform(self) -> float | None:
        """Coefficient of uniform routing."""
        if self._get("uniform") is not None:
            return float(self.data["uniform"])
        return (
            1 / len(self.data["concept_names"]) if self._get("concept_names") is not None else None
        )

    @property
    def _kind(self) -> str:
        return str(self.data.get("kind") or "routing")

    def _get(self, key: str) -> Any:
        """Return a quantity, or None where the estimator has no such quantity."""
        return self.data.get(key)

    def __repr__(self) -> str:
        counts = [
            f"{word}={len(names)}"
            for word, names in (
                ("n_samples", self._get("sample_index")),
                ("n_terms", self._get("term_names")),
                ("n_concepts", self._get("concept_names")),
            )
            if names is not None
        ]
        if self._get("n_samples") is not None:
            counts.insert(0, f"n_samples={self._get('n_samples')}")
        return f"{type(self).__name__}(kind={self._kind!r}, {', '.join(counts)})"


class GlobalExplanation(Explanation):
    r"""What a model does on a whole data set: means over samples, with 95 % intervals.

    ``explain_global`` of an estimator returns one.

    Parameters
    ----------
    data : mapping of str to arrays and lists
        With T terms and J concepts: ``term_names``, ``concept_names``, ``n_samples``, ``uniform``
        (1/J, the coefficient of uniform routing), and any of ``routing_coefficients`` (T, J),
        ``activations`` (T,), ``routed_activations`` (T, J), each a mean with
        ``routing_intervals`` (T, J, 2), ``activation_intervals`` (T, 2) and
        ``routed_activation_intervals`` (T, J, 2); ``relevance`` (T,), which sums to 1;
        ``contribution_share`` (T,), the share of the mean absolute contribution.

    Attributes
    ----------
    data : dict of str to arrays and lists
        What was given, numbers as ndarrays.
    uniform : float or None
        Coefficient of uniform routing, 1/J; None without concepts.
    significant : ndarray of bool of shape (n_terms, n_concepts) or None
        Where the interval of the routing coefficient excludes ``uniform``; None without routing.

    Raises
    ------
    InputError
        If a quantity has a shape that does not fit the names of terms and concepts.

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
    >>> explanation = GlobalExplanation({
    ...     "term_names": ["text", "audio"],
    ...     "concept_names": ["sad", "happy"],
    ...     "routing_coefficients": [[0.7, 0.3], [0.52, 0.48]],
    ...     "routing_intervals": [[[0.6, 0.8], [0.2, 0.4]], [[0.45, 0.59], [0.41, 0.55]]],
    ... })
    >>> explanation.significant
    array([[ True,  True],
           [False, False]])
    """

    _shapes = {
        "routing_coefficients": "TJ",
        "routing_intervals": "TJ2",
        "activations": "T",
        "activation_intervals": "T2",
        "routed_activations": "TJ",
        "routed_activation_intervals": "TJ2",
        "relevance": "T",
        "contribution_share": "T",
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

    def to_frame(self) -> pd.DataFrame:
        """Return the numbers as a long table.

        Returns
        -------
        frame : pandas.DataFrame
            One row per term and concept: ``term``, ``concept``, ``routing``, ``routing_low``,
            ``routing_high``, ``significant``, ``routed_activation`` and its ``_low`` and ``_high``;
            and what a term has once, which is the same in all rows of the term: ``activation``,
            ``activation_low``, ``activation_high``, ``relevance``, ``contribution_share``. Only
            the quantities that the estimator has. One row per term, without ``concept``, if it has
            none per concept.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        pd = _pandas(self)
        axes = {"term": self.data["term_names"]}
        if any(
            self._get(key) is not None for key in ("routing_coefficients", "routed_activations")
        ):
            axes["concept"] = self.data["concept_names"]
        columns: dict[str, Any] = {}
        for word, key, interval_key in (
            ("routing", "routing_coefficients", "routing_intervals"),
            ("activation", "activations", "activation_intervals"),
            ("routed_activation", "routed_activations", "routed_activation_intervals"),
        ):
            columns[word] = self._get(key)
            if (intervals := self._get(interval_key)) is not None:
                columns[f"{word}_low"], columns[f"{word}_high"] = np.moveaxis(intervals, -1, 0)
            if word == "routing":
                columns["significant"] = self.significant
        columns["relevance"] = self._get("relevance")
        columns["contribution_share"] = self._get("contribution_share")
        return _long_frame(pd, axes, columns)

    def _repr_html_(self) -> str:
        routing = self._get("routing_coefficients")
        concepts = [] if routing is None else list(self.data["concept_names"])[:HTML_COLUMNS]
        per_term = [
            (heading, self.data[key], self._get(interval_key))
            for heading, key, interval_key in (
                ("activation", "activations", "activation_intervals"),
                ("relevance", "relevance", ""),
                ("share of contribution", "contribution_share", ""),
            )
            if self._get(key) is not None
        ]
        intervals, significant = self._get("routing_intervals"), self.significant
        rows = []
        for term, name in enumerate(self.data["term_names"][:HTML_ROWS]):
            cells = [f"<th>{escape(str(name))}</th>"]
            for concept in range(len(concepts)):
                interval = None if intervals is None else intervals[term, concept]
                text = _with_half_width(routing[term, concept], interval)
                marked = significant is not None and significant[term, concept]
                cells.append(f"<td><b>{text}</b></td>" if marked else f"<td>{text}</td>")
            for _, values, ends in per_term:
                text = _with_half_width(values[term], None if ends is None else ends[term])
                cells.append(f"<td>{text}</td>")
            rows.append("".join(cells))
        notes = []
        if significant is not None and concepts:
            notes.append(f"Bold: the 95 % interval excludes uniform routing, {self.uniform:.3g}.")
        if (more := len(self.data["term_names"]) - HTML_ROWS) > 0:
            notes.append(f"{more} more terms are not shown.")
        if concepts and (more := len(self.data["concept_names"]) - HTML_COLUMNS) > 0:
            notes.append(f"{more} more concepts are not shown.")
        return _html(self, ["term", *concepts, *[word for word, _, _ in per_term]], rows, notes)


class LocalExplanation(Explanation):
    """What a model does with single samples.

    ``explain_local`` of an estimator returns one. ``explanation[3]`` and ``explanation[:5]``
    (positions, slices, lists of positions, masks) are explanations of those samples.

    Parameters
    ----------
    data : mapping of str to arrays and lists
        With n samples, T terms, J concepts and K outputs (for binary targets one output, the
        logit of ``classes_[1]``): ``term_names``, ``concept_names``, ``output_names``,
        ``sample_index`` (n,), and any of ``routing_coefficients`` (n, T, J), ``activations``
        (n, T), ``routed_activations`` (n, T, J), ``contributions`` (n, T, K), ``intercept`` (K,),
        ``decision`` (n, K), ``probabilities`` (n, n_classes), ``predicted`` and ``y`` (n,), for
        multilabel targets (n, n_labels).

    Attributes
    ----------
    data : dict of str to arrays and lists
        What was given, numbers as ndarrays.
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
    LocalExplanation(kind='routing', n_samples=1, n_terms=2)
    """

    _shapes = {
        "sample_index": "n",
        "routing_coefficients": "nTJ",
        "activations": "nT",
        "routed_activations": "nTJ",
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
        positions = np.atleast_1d(np.arange(len(self))[rows])
        data = dict(self.data)
        for key, letters in self._shapes.items():
            if letters.startswith("n") and data.get(key) is not None:
                data[key] = data[key][positions]
        return type(self)(data)

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
            - ``"probability"``: one per sample and concept (``probability``; ``predicted`` and
              ``true``, whether it is the predicted and the true one).

            None takes the first of these that the estimator has.

        Returns
        -------
        frame : pandas.DataFrame
            ``sample`` is the position in the data that were explained.

        Raises
        ------
        ImportError
            If pandas is not installed.
        InputError
            If there is no such quantity.
        """
        pd = _pandas(self)
        there = [word for word, (key, _) in self._tables.items() if self._get(key) is not None]
        if quantity is None and there:
            quantity = there[0]
        if quantity not in there:
            raise InputError(f"quantity is {quantity!r}; this explanation has {there}.")
        key, letters = self._tables[quantity]
        values = self.data[key]
        axes = {axis: self._names(axis) for axis in letters}
        columns = {quantity: values}
        if quantity == "decision" and self.deviation is not None:
            sums = self.data["contributions"].sum(axis=1)
            intercept = np.broadcast_to(self.data["intercept"], sums.shape)
            columns = {"intercept": intercept, "contributions": sums, "decision": values}
        if quantity == "probability":
            axes["concept"] = self._label_names(values.shape[1])
            for word, labels_key in (("predicted", "predicted"), ("true", "y")):
                if (labels := self._get(labels_key)) is not None:
                    columns[word] = _is_label(labels, axes["concept"])
        return _long_frame(pd, axes, columns)

    def _names(self, axis: str) -> list[Any]:
        key = "sample_index" if axis == "sample" else f"{axis}_names"
        return list(self.data[key])

    def label_text(self, row: int, key: str) -> str:
        """Return the label of one sample in words; of a multilabel sample, all its labels.

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
        if np.ndim(label) == 0:
            return str(label)
        names = self._label_names(len(label))
        return ", ".join(str(name) for name, on in zip(names, label, strict=True) if on) or "none"

    def _label_names(self, count: int) -> list[Any]:
        """Return the names of `count` labels: the concepts, or the outputs if they are fewer."""
        for key in ("concept_names", "output_names"):
            if self._get(key) is not None and len(self.data[key]) == count:
                return list(self.data[key])
        return list(range(count))

    def _largest_contributions(self, row: int) -> list[str]:
        """Return the output with the largest decision, its parts and the terms that made it."""
        output = int(np.argmax(self.data["decision"][row]))
        parts = self.data["contributions"][row, :, output]
        largest = np.argsort(-np.abs(parts), kind="stable")[:HTML_TERMS]
        named = [f"{self.data['term_names'][term]} {parts[term]:+.3g}" for term in largest]
        return [
            str(self.data["output_names"][output]),
            f"{self.data['decision'][row, output]:+.3g}",
            f"{self.data['intercept'][output]:+.3g}",
            ", ".join(named),
        ]

    def _sum_in_words(self) -> str:
        size = max(1.0, float(np.abs(self.data["decision"]).max()))
        adds_up = self.deviation is not None and self.deviation <= ROUND_OFF * size
        verb = "add up" if adds_up else "do NOT add up"
        return (
            f"Intercept and the contributions of all {len(self.data['term_names'])} terms {verb} "
            f"to the decision; largest deviation {self.deviation:.1e}."
        )

    def __str__(self) -> str:
        return repr(self) if self.deviation is None else f"{self!r}\n{self._sum_in_words()}"

    def _repr_html_(self) -> str:
        labels = [key for key in ("y", "predicted") if self._get(key) is not None]
        headings = ["sample", *["true" if key == "y" else key for key in labels]]
        if self.deviation is not None:
            headings += ["output", "decision", "intercept", "largest contributions"]
        rows = []
        for row in range(min(len(self), HTML_ROWS)):
            texts = [str(self.data["sample_index"][row])]
            texts += [self.label_text(row, key) for key in labels]
            if self.deviation is not None:
                texts += self._largest_contributions(row)
            rows.append("".join(f"<td>{escape(text)}</td>" for text in texts))
        notes = [] if self.deviation is None else [self._sum_in_words()]
        if (more := len(self) - HTML_ROWS) > 0:
            notes.append(f"{more} more samples are not shown.")
        return _html(self, headings, rows, notes)


def _pandas(explanation: Explanation) -> Any:
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(
            f"{type(explanation).__name__}.to_frame needs pandas; install the extra 'frames' of "
            "sklearn-mmfusion, or use .data."
        ) from error
    return pd


def _long_frame(
    pd: Any, axes: Mapping[str, Sequence[Any]], columns: Mapping[str, NDArray[Any] | None]
) -> Any:
    """Return one row per combination of `axes`; a column with fewer axes has the first ones."""
    shape = tuple(len(names) for names in axes.values())
    positions = np.indices(shape).reshape(len(shape), -1)
    frame = {
        axis: pd.Index(names)[position]
        for (axis, names), position in zip(axes.items(), positions, strict=True)
    }
    for word, values in columns.items():
        if values is not None:
            frame[word] = values[tuple(positions[: values.ndim])]
    return pd.DataFrame(frame)


def _is_label(labels: NDArray[Any], names: Sequence[Any]) -> NDArray[np.bool_]:
    """Return for each sample and name whether the name is a label of the sample."""
    if labels.ndim == 2:
        return labels.astype(bool)
    return np.array(
        [[label == name or str(label) == str(name) for name in names] for label in labels]
    )


def _with_half_width(value: float, interval: NDArray[np.float64] | None) -> str:
    half = np.nan if interval is None else (interval[1] - interval[0]) / 2
    return f"{value:.3f}" if np.isnan(half) else f"{value:.3f} ± {half:.3f}"


def _html(
    explanation: Explanation, headings: Sequence[Any], rows: Sequence[str], notes: Sequence[str]
) -> str:
    """Return a small table; `rows` are HTML, the rest is text and is escaped here."""
    title = escape(Explanation.__repr__(explanation))
    head = "".join(f"<th>{escape(str(heading))}</th>" for heading in headings)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    below = "".join(f"<p>{escape(note)}</p>" for note in notes)
    return (
        f"<div><p><code>{title}</code></p><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>{below}</div>"
    )
