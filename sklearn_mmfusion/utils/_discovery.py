"""Finding the public estimators, so that tests and tools cover the ones of tomorrow too."""

from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, TransformerMixin

from sklearn_mmfusion._errors import InputError

__all__ = ["all_estimators"]

_MIXINS = {
    "classifier": ClassifierMixin,
    "regressor": RegressorMixin,
    "transformer": TransformerMixin,
}


def all_estimators(type_filter=None):
    """List the public estimators of the package, as scikit-learn's function of that name does.

    Use it to run something over every method there is, such as a comparison or a test.

    Parameters
    ----------
    type_filter : {"classifier", "regressor", "transformer"}, list of these or None, default=None
        Kinds to return. None returns everything with ``get_params``: the encoders and optimizers,
        which are parameters of estimators, as well.

    Returns
    -------
    list of (str, type)
        Name and class, sorted by name; each class once.

    Raises
    ------
    InputError
        For an unknown kind.

    Examples
    --------
    >>> from sklearn_mmfusion.utils import all_estimators
    >>> [name for name, _ in all_estimators("classifier")][:2]
    ['EarlyFusionClassifier', 'GAMClassifier']
    """
    kinds = [type_filter] if type_filter is None or isinstance(type_filter, str) else type_filter
    unknown = [kind for kind in kinds if kind is not None and kind not in _MIXINS]
    if unknown:
        raise InputError(f"type_filter: expected {sorted(_MIXINS)} or None, got {unknown}")
    bases = tuple(BaseEstimator if kind is None else _MIXINS[kind] for kind in kinds)
    import sklearn_mmfusion

    found = {
        value.__name__: value
        for value in (getattr(sklearn_mmfusion, name) for name in sklearn_mmfusion.__all__)
        if isinstance(value, type) and issubclass(value, BaseEstimator) and issubclass(value, bases)
    }
    return sorted(found.items())
