"""Late fusion of models that never met: log-posteriors added up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, _fit_context, clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from sklearn_mmfusion._errors import InputError, InputTypeError
from sklearn_mmfusion._explained import ExplainedTerms
from sklearn_mmfusion._inputs.named_estimators import NamedEstimatorsMixin
from sklearn_mmfusion._inputs.validation import (
    check_fit_inputs,
    check_X,
    set_input_attributes,
    term_name,
)
from sklearn_mmfusion._model.seeds import seed_for
from sklearn_mmfusion._stacking.estimator_encoder import flat_inputs, seeded
from sklearn_mmfusion._stacking.estimator_outputs import (
    SeenTarget,
    answers,
    class_probabilities,
    class_shares,
    errors_of,
)
from sklearn_mmfusion._stacking.label_classifiers import estimator_type, fit_to_target
from sklearn_mmfusion._stacking.standardizer import Standardizer
from sklearn_mmfusion._target_mixins import FusionClassifierMixin
from sklearn_mmfusion._training.progress import CallbackSupport, FitTask
from sklearn_mmfusion.data._blocks import ModalityBlock, ModalityData

__all__ = ["LateVotingClassifier"]

Floats = npt.NDArray[np.float64]

_FLOOR = 1e-12  # smallest probability whose logarithm is taken


class LateVotingClassifier(
    NamedEstimatorsMixin, FusionClassifierMixin, ExplainedTerms, CallbackSupport, BaseEstimator
):
    r"""Add up the log-posteriors of one classifier per modality, each trained on its own.

    Use it as a baseline: where modalities are independent given the class it is the best there
    is, it needs no joint training, and any scikit-learn classifier can take part.

    .. math::

        \log p(y \mid x) = \log p(y) + \sum_m \big(\log p_m(y \mid x_m) - \log p(y)\big) + c

    with the class frequencies :math:`p(y)` of the training rows. Takes binary, multiclass and
    multilabel targets (for these, log-odds of each label).

    A classifier that has seen no row of a class, since its modality is missing in all of them, does
    not vote on it: :math:`p_m(k \mid x_m) = p(k)`, and the others share the rest. So the odds of
    that class against all others are those without the modality. Where all rows that have a
    modality are of one class, or alike in a label, it does not vote (on that label) at all.

    Parameters
    ----------
    estimators : classifier, or mapping of str to classifier, default=None
        One for all modalities, or by name; with ``predict_proba``. Parameters of those by name are
        set and searched as ``estimators__<modality>__<parameter>``. None, and modalities that are
        not named, are logistic regression on standardised features. Sequences are described by
        moments and extremes over valid steps, images by their pixels.
    modalities : mapping or list of str, default=None
        For 2-D ``X``: name to slice, list of positions or list of column names; together they
        cover every column exactly once. For a mapping: names to use. None takes a mapping as it
        is, and a 2-D ``X`` as one modality.
    missing : {"raise", "mask"}, default="raise"
        What a row of NaN in a modality is: an error, or a row in which that modality does not
        vote and its classifier does not learn.
    random_state : int, RandomState instance or None, default=None
        Seed of every ``random_state`` of the classifiers that is None.

    Attributes
    ----------
    estimators_ : dict of str to classifier
        Fitted classifiers; they see encoded labels 0, 1, ... One that takes no multilabel targets
        is fitted to each label; for a modality with rows of one class it is a DummyClassifier.
    classes_ : ndarray
        Labels; ``arange(n_labels)`` for multilabel targets.
    intercept_ : ndarray of shape (n_outputs,)
        Log-frequencies of the classes, centred; log-odds for binary and multilabel targets.
    modality_names_, term_names_ : list of str
        Modalities.
    term_modalities_ : list of tuple of str
        The same, as terms.
    n_features_in_ : int
        Modalities of a mapping, columns of a 2-D ``X``.
    feature_names_in_ : ndarray of str
        Names of the modalities of a mapping, or of the columns of a DataFrame.

    See Also
    --------
    EstimatorEncoder : The same models as encoders, with their weight in the sum learned.

    References
    ----------
    .. [1] Kittler, Hatef, Duin & Matas (1998), "On Combining Classifiers", section 2.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfusion import LateVotingClassifier
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(size=(200, 4)), rng.normal(size=(200, 5))
    >>> est = LateVotingClassifier().fit({"a": a, "b": b}, (a[:, 0] + b[:, 0] > 0))
    >>> est.contributions({"a": a, "b": b}).shape
    (200, 2, 1)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any] | str]] = {
        "estimators": "no_validation",
        "modalities": "no_validation",
        "missing": [StrOptions({"raise", "mask"})],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimators: Any = None,
        *,
        modalities: Any = None,
        missing: str = "raise",
        random_state: Any = None,
    ) -> None:
        self.estimators = estimators
        self.modalities = modalities
        self.missing = missing
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Fit one classifier per modality.

        Parameters
        ----------
        X : mapping, ModalityFrame, DataFrame or array-like
            Modalities with n_samples rows each.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Target.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights, for the class frequencies and the classifiers that take them.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        InputError, InputTypeError
            Input that cannot be used, a classifier without ``predict_proba``, or one that refuses
            its modality.
        """
        schema, data, target, encoded, weight = check_fit_inputs(
            self, X, y, sample_weight, classifier=True
        )
        given = self._by_name(schema.names)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        kind, shares = target.kind, class_shares(encoded, weight, target.kind)
        fitted, seen = {}, {}
        task = FitTask(self, X, y, sample_weight)
        task.begin(len(data.blocks))
        for block in data.blocks:
            part = task.begin_part(f"training on {block.name}", 0)
            rows = _rows(block)
            if weight is not None:
                rows = rows[weight[rows] > 0]
            model = seeded(clone(given[block.name]), seed_for(seed, block.name))
            mine = None if weight is None else weight[rows]
            inputs, some = flat_inputs(block)[rows], encoded[rows]
            with errors_of(block.name, model):
                model = fit_to_target(model, inputs, some, mine, kind, "predict_proba")
            if not hasattr(model, "predict_proba"):  # of some it is known only now
                raise InputTypeError(
                    f"modality {block.name!r}: expected a classifier with fit and predict_proba, "
                    f"got {given[block.name]!r}; wrap it in CalibratedClassifierCV"
                )
            fitted[block.name] = model
            seen[block.name] = SeenTarget.of(kind, shares, some)
            part.end()
        self.estimators_ = self._result = fitted
        self._seen = seen
        self.intercept_ = _logits(shares[None], kind)[0]
        self._schema, self._target = schema, target
        self.classes_ = target.classes
        set_input_attributes(self, schema)
        self.term_modalities_ = [(name,) for name in schema.names]
        self.term_names_ = [term_name([m], schema.names) for m in range(len(schema.names))]
        task.end()
        return self

    @property
    def _default_estimator(self) -> Any:
        return make_pipeline(Standardizer(), LogisticRegression(max_iter=1000, tol=1e-8))

    def _by_name(self, names: list[str]) -> dict[str, Any]:
        default = self._default_estimator
        given = self.estimators
        if given is None:
            return dict.fromkeys(names, default)
        if not isinstance(given, Mapping):
            given = dict.fromkeys(names, given)
        unknown = [name for name in given if name not in names]
        if unknown:
            raise InputError(
                f"estimators: there are no modalities {unknown}; the modalities are {names}"
            )
        for name, model in given.items():
            if isinstance(model, type):
                raise InputTypeError(
                    f"modality {name!r}: expected a classifier, got the class {model.__name__}; "
                    f"write {model.__name__}()"
                )
            if not (hasattr(model, "fit") and hasattr(model, "get_params")):
                raise InputTypeError(
                    f"modality {name!r}: expected a classifier with fit and predict_proba, got "
                    f"{model!r}; give one for all modalities, or a mapping by their names"
                )
            if estimator_type(model) not in ("classifier", None):
                raise InputTypeError(
                    f"modality {name!r}: expected a classifier with fit and predict_proba, got the "
                    f"{estimator_type(model)} {model!r}"
                )
        return {name: given.get(name, default) for name in names}

    def contributions(self, X: Any) -> Floats:
        """Return what each modality adds to each output.

        Parameters
        ----------
        X : mapping, ModalityFrame, DataFrame or array-like
            Rows to explain.

        Returns
        -------
        ndarray of shape (n_samples, n_modalities, n_outputs)
            Log-posteriors less log-frequencies (log-odds for binary and multilabel targets);
            exactly 0 where the modality is missing, or does not vote. With ``intercept_`` they add
            up to ``decision_function``.
        """
        check_is_fitted(self, "estimators_")
        _, data = check_X(
            X,
            estimator=self,
            modalities=self.modalities,
            missing=self.missing,
            schema=self._schema,
        )
        return self._votes(data)

    def _votes(self, data: ModalityData) -> Floats:
        kind, n_outputs = self._target.kind, self._target.n_outputs
        votes = np.zeros((data.n_samples, len(data.blocks), n_outputs))
        for m, block in enumerate(data.blocks):
            rows, seen = _rows(block), self._seen[block.name]
            if not len(rows) or (kind != "multilabel" and seen.known.sum() < 2):
                continue
            model = self.estimators_[block.name]
            found = answers(block.name, model, "predict_proba", flat_inputs(block)[rows])
            probabilities = class_probabilities(found, model, seen)
            votes[rows, m] = _logits(probabilities, kind) - self.intercept_
            if kind == "multilabel":
                votes[:, m, ~seen.known] = 0
        return votes

    def _raw_outputs(self, X: Any) -> Floats:
        total: Floats = self.contributions(X).sum(1) + self.intercept_
        return total

    def save(self, path: Any) -> None:
        """Refuse: fitted estimators of scikit-learn's are no data; use ``skops.io.dump``.

        Parameters
        ----------
        path : str or path-like
            Not used.

        Raises
        ------
        InputTypeError
            Always.
        """
        raise InputTypeError(
            "LateVotingClassifier holds fitted estimators of scikit-learn's, which cannot be saved "
            "as data; save it with skops (skops.io.dump)"
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = self.missing == "mask"
        return tags


def _rows(block: ModalityBlock) -> npt.NDArray[np.intp]:
    if block.present is None:
        return np.arange(len(block.values))
    return np.flatnonzero(block.present)


def _logits(probabilities: Floats, kind: str) -> Floats:
    clipped = np.clip(probabilities, _FLOOR, 1.0)
    if kind == "multilabel":
        return np.log(clipped) - np.log(np.clip(1 - probabilities, _FLOOR, 1.0))
    logs = np.log(clipped)
    if kind == "binary":
        return logs[:, 1:] - logs[:, :1]
    centred: Floats = logs - logs.mean(1, keepdims=True)
    return centred
