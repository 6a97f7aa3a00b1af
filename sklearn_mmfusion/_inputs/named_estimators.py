"""Nested parameters of estimators that are given by the names of modalities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sklearn.base import clone

from sklearn_mmfusion._inputs.nested_params import by_modality, nested_params, take_nested

__all__ = ["NamedEstimatorsMixin"]


class NamedEstimatorsMixin:
    """Nested parameters through the ``estimators`` of an estimator, by modality name.

    With it ``estimators__text__max_depth`` can be read, set and searched where ``estimators`` is a
    mapping, and ``estimators__text`` replaces an estimator; a modality that is not named gets the
    default first. Put it before ``BaseEstimator`` among the bases.

    Notes
    -----
    The user's mapping is never changed: a new one takes its place. Estimators inside it are
    changed in place, as scikit-learn does with nested estimators.
    """

    estimators: Any
    _default_estimator: Any

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters.

        Parameters
        ----------
        deep : bool, default=True
            Whether the estimators and their parameters are in the result, too.

        Returns
        -------
        dict
            Parameter names mapped to their values.
        """
        params: dict[str, Any] = super().get_params(deep=deep)  # type: ignore[misc]
        if not (deep and isinstance(self.estimators, Mapping)):
            return params
        return params | nested_params("estimators", self.estimators.items())

    def set_params(self, **params: Any) -> Any:
        """Set parameters, those of the estimators included.

        Parameters
        ----------
        **params : dict
            ``estimators__<modality>=estimator`` and ``estimators__<modality>__<parameter>=value``
            beside the estimator's own; ``estimators__<parameter>`` where there is one for all.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        ValueError
            If there is no such parameter.
        """
        given = params.get("estimators", self.estimators)
        if given is not None and not isinstance(given, Mapping):
            super().set_params(**params)  # type: ignore[misc]
            return self
        nested = take_nested("estimators", params)
        super().set_params(**params)  # type: ignore[misc]
        if nested:
            self.estimators = self._with_nested(dict(given or {}), nested)
        return self

    def _with_nested(self, by_name: dict[str, Any], nested: dict[str, Any]) -> dict[str, Any]:
        """Set ``<modality>`` and ``<modality>__<parameter>``, replacements first."""
        replaced, changed = by_modality(nested)
        for name, estimator in replaced.items():
            if not hasattr(estimator, "fit"):
                raise ValueError(
                    f"Invalid parameter 'estimators__{name}' for estimator {self!r}: use "
                    "estimators__<modality>=<classifier>, or "
                    "estimators__<modality>__<parameter of its classifier>=<value>"
                )
            by_name[name] = estimator
        for name, parameters in changed.items():
            if name not in by_name:
                by_name[name] = clone(self._default_estimator)
            by_name[name].set_params(**parameters)
        return by_name
