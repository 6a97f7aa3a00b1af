"""What explanations of a data set and of single samples share: checked arrays, picture, repr."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from sklearn_mmfusion._errors import InputError

__all__ = ["DISPLAYS", "ROUND_OFF", "Explanation"]

# The one registry of Displays: scope and kind of an explanation -> name in plotting.
DISPLAYS = {
    ("global", "relevance"): "RelevanceDisplay",
    ("global", "contribution"): "RelevanceDisplay",
    ("global", "routing"): "RoutingDisplay",
    ("global", "activation"): "RoutingDisplay",
    ("local", "relevance"): "ContributionDisplay",
    ("local", "contribution"): "ContributionDisplay",
    ("local", "routing"): "RoutingDisplay",
    ("local", "activation"): "RoutingDisplay",
}

# Coefficients that were never adjusted are 1/J up to round-off, and so are all of a term that
# is not used: an interval as narrow as that round-off says nothing. Single precision has 1e-7.
ROUND_OFF = 1e-6


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
    kind : str
        ``"relevance"`` (a model with relevance scores), ``"contribution"`` (another sum of terms),
        ``"routing"`` or ``"activation"`` (routing, and its ablation); read off the quantities
        where it is not given.
    uniform : float or None
        Coefficient of uniform routing, 1/J; None without concepts.

    Raises
    ------
    InputError
        If a quantity has a shape that does not fit the names of terms, concepts and outputs.
    """

    _scope: ClassVar[str] = ""

    # Quantity -> letters of its axes: n samples, T terms, J concepts, K outputs, 2 ends of an
    # interval; "*" leaves the other axes open.
    _shapes: ClassVar[Mapping[str, str]] = {}

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
            What ``plot`` of the Display takes, for example ``ax``.

        Returns
        -------
        display : Display
            Of a data set a :class:`~sklearn_mmfusion.plotting.RelevanceDisplay`, of samples a
            :class:`~sklearn_mmfusion.plotting.ContributionDisplay`; with routing, or with
            activations, a :class:`~sklearn_mmfusion.plotting.RoutingDisplay` of either.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        InputError
            If there is no picture of this kind of explanation.
        """
        # Displays stand above explanations, so this import goes up: at the call only.
        from sklearn_mmfusion import plotting

        name = DISPLAYS.get((self._scope, self.kind))
        if name is None:
            kinds = sorted({kind for _, kind in DISPLAYS})
            raise InputError(f"kind is {self.kind!r}; there are pictures of {kinds}.")
        return getattr(plotting, name).from_explanation(self).plot(**kwargs)

    @property
    def kind(self) -> str:
        """What the explanation is about."""
        if self._get("kind") is not None:
            return str(self.data["kind"])
        for kind, key in (
            ("routing", "routing_coefficients"),
            ("activation", "activations"),
            ("relevance", "relevance"),
        ):
            if self._get(key) is not None:
                return kind
        return "contribution"

    @property
    def uniform(self) -> float | None:
        """Coefficient of uniform routing."""
        if self._get("uniform") is not None:
            return float(self.data["uniform"])
        return (
            1 / len(self.data["concept_names"]) if self._get("concept_names") is not None else None
        )

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
                ("n_outputs", self._get("output_names")),
            )
            if names is not None and not (word == "n_outputs" and "concept_names" in self.data)
        ]
        if self._get("n_samples") is not None:
            counts.insert(0, f"n_samples={self._get('n_samples')}")
        return f"{type(self).__name__}(kind={self.kind!r}, {', '.join(counts)})"
