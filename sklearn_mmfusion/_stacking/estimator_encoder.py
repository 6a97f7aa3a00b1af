"""Any scikit-learn estimator as the encoder of a modality: out-of-fold predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import clone
from sklearn.utils._param_validation import HasMethods, StrOptions
from torch import nn

from sklearn_mmfusion._encoders.specs import BaseEncoder, IdentityEncoder
from sklearn_mmfusion._errors import InputError, InputTypeError
from sklearn_mmfusion._model.plan import FusionPlan
from sklearn_mmfusion._model.seeds import seed_for
from sklearn_mmfusion._stacking.estimator_outputs import (
    SeenTarget,
    class_shares,
    errors_of,
    predictions,
)
from sklearn_mmfusion._stacking.folds import folds, row_keys
from sklearn_mmfusion._stacking.label_classifiers import estimator_type, fit_to_target
from sklearn_mmfusion.data._blocks import ModalityBlock, ModalityData, ModalityLayout
from sklearn_mmfusion.modules.encoders import SummaryModule

__all__ = [
    "EstimatorEncoder",
    "FittedRepresentation",
    "fit_representations",
    "flat_inputs",
    "represent",
    "seeded",
    "sequence_summary",
]

Floats = npt.NDArray[np.float64]

_METHODS = ("predict_proba", "decision_function", "predict", "transform")
_NUMBERED = ("predict_proba", "predict")  # those that tell clusters by numbers


class EstimatorEncoder(BaseEncoder):
    """Represent a modality by the predictions of any scikit-learn estimator.

    Use it where trees, kernels or linear models do best: their predictions get relevance scores
    and interactions like any encoding. As in stacking, every training row is represented by an
    estimator that was fitted without it (``cv`` folds), and new rows by one fitted to all rows.

    Flat features go to the estimator as they are, sequences as their moments and extremes over
    valid steps (see :class:`SummaryEncoder`), images as rows of pixels. Rows in which the modality
    is missing are left out of its fits.

    Parameters
    ----------
    estimator : estimator
        A classifier, regressor or transformer with scikit-learn's interface. Its ``random_state``
        is set where it is None. A classifier that takes no multilabel targets is fitted to each
        label. A regressor under a fusion classifier learns the positions of the classes in
        ``classes_``, 0, 1, ..., as numbers: mind their order where there are more than two.
    method : {"auto", "predict_proba", "decision_function", "predict", "transform"}, default="auto"
        What represents a row; "auto" takes the first that there is. Probabilities become
        log-odds (binary) or centred logarithms, so that adding them up is late fusion; where a
        fit has seen no row of a class, the frequency of the class stands for its probability.
        Predicted classes become indicators, numbers stay as they are. A ``transform`` is fitted
        once on all training rows, since the axes of different fits do not agree: use it for
        transformers that do not read the target. Clusterers are such, by their distances; their
        numbers of clusters are refused, since each fit numbers them anew.
    cv : int, cross-validation splitter or iterable, default=5
        Folds. For an integer, at least 2, they are balanced by class and made by what is in the
        rows, as held-out rows are: rows that are equal in all modalities are left out together,
        so that a copy of a row tells an estimator nothing of its label, no order of the rows
        matters, and a row that comes twice is one of weight two. Above 50,000 rows, or with
        fewer than ten different ones, rows are not told apart, and shuffled. Where rows belong
        together that are not equal, those of one person or several captions of one picture, pass
        ``groups`` to ``fit``: the folds are of whole groups then, of about as many rows of each
        class. A splitter, which is given the groups, or an iterable of pairs of row numbers is
        used as it is, on the rows that have the modality and a weight; it has to hold every one
        of them in a test fold, and the mean represents a row that is in several
        (``RepeatedKFold``).

    Notes
    -----
    Fitted estimators are kept in ``representations_`` of the fusion estimator, and pickled with
    it. ``partial_fit`` cannot take them. Fits of the estimator, or of the steps of a Pipeline,
    receive sample weights if ``fit`` has a ``sample_weight``. With scikit-learn's metadata routing
    a request of the estimator or a part of it, such as ``set_fit_request(sample_weight=False)``,
    comes first.

    Where all modalities are log-posteriors, MNL and InTense prefer a sum of them with one weight
    per modality, equal unless cross-validation objects; see their ``reg``.

    References
    ----------
    Wolpert (1992), "Stacked generalization".

    Examples
    --------
    >>> from sklearn.ensemble import HistGradientBoostingClassifier
    >>> from sklearn_mmfusion import EstimatorEncoder
    >>> EstimatorEncoder(HistGradientBoostingClassifier(), cv=3)
    EstimatorEncoder(cv=3, estimator=HistGradientBoostingClassifier())
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": [HasMethods(["fit", "get_params"])],
        "method": [StrOptions({"auto", *_METHODS})],
        "cv": ["cv_object"],
    }

    def __init__(self, estimator: Any, *, method: str = "auto", cv: Any = 5) -> None:
        self.estimator = estimator
        self.method = method
        self.cv = cv

    def _build(self, layout: ModalityLayout) -> nn.Module:
        raise InputError(
            f"modality {layout.name!r}: EstimatorEncoder is fitted before the network, and so is "
            "for estimators with one encoder per modality, such as InTenseClassifier or "
            "LateFusionClassifier"
        )

    def method_of(self, estimator: Any, name: str) -> str:
        """Return the method that represents a row."""
        wanted: tuple[str, ...] = _METHODS if self.method == "auto" else (self.method,)
        shown = type(self.estimator).__name__
        if estimator_type(estimator) in ("clusterer", "density_estimator"):
            wanted = tuple(method for method in wanted if method not in _NUMBERED)
            if not any(hasattr(estimator, method) for method in wanted):
                remedy = 'use method="transform"'
                if not hasattr(estimator, "transform"):
                    remedy = "use a transformer, such as KMeans or PCA"
                raise InputTypeError(
                    f"modality {name!r}: {shown} numbers its clusters anew in each fit, so that "
                    f"those of different folds are not the same; {remedy}"
                )
        for method in wanted:
            if hasattr(estimator, method):
                return method
        raise InputTypeError(
            f"modality {name!r}: EstimatorEncoder needs an estimator with "
            f"{' or '.join(wanted)}, got {shown}"
        )


@dataclass
class FittedRepresentation:
    """The fitted estimator of one modality.

    Attributes
    ----------
    encoder : EstimatorEncoder
        What the user asked for.
    estimator : estimator
        Fitted to all training rows that have the modality.
    method : str
        Method that represents a row.
    seen : SeenTarget
        What the estimator has seen of the target.
    n_features : int
        Length of the representation.
    """

    encoder: EstimatorEncoder
    estimator: Any
    method: str
    seen: SeenTarget
    n_features: int

    def __call__(self, block: ModalityBlock) -> ModalityBlock:
        """Return the representation of rows, 0 where the modality is missing."""
        rows = np.arange(len(block.values))
        if block.present is not None:
            rows = rows[block.present]
        values = np.zeros((len(block.values), self.n_features))
        if len(rows):
            inputs = flat_inputs(block.take(rows))
            values[rows] = predictions(block.name, self.estimator, self.method, inputs, self.seen)
        return ModalityBlock(block.name, values, None, block.present)


def represent(representations: dict[str, FittedRepresentation], data: ModalityData) -> ModalityData:
    """Replace the modalities that an estimator represents."""
    if not representations:
        return data
    return ModalityData(
        [
            representations[block.name](block) if block.name in representations else block
            for block in data.blocks
        ]
    )


def fit_representations(
    plan: FusionPlan,
    data: ModalityData,
    target: npt.NDArray[Any],
    weight: Floats | None,
    kind: str,
    groups: npt.NDArray[np.intp] | None = None,
) -> tuple[FusionPlan, ModalityData, dict[str, FittedRepresentation]]:
    """Fit the estimators among the encoders.

    Parameters
    ----------
    plan : FusionPlan
        Plan with the layouts of the data.
    data : ModalityData
        Modalities in the order of the plan.
    target : ndarray
        Encoded target.
    weight : ndarray of shape (n_samples,) or None
        Row weights.
    kind : str
        Kind of the target.
    groups : ndarray of int of shape (n_samples,) or None
        Number of the group of each row.

    Returns
    -------
    plan : FusionPlan
        Plan that takes the representations as they are.
    data : ModalityData
        Out-of-fold representations in place of their modalities.
    representations : dict of str to FittedRepresentation
        What represents new rows; empty where no encoder is an estimator.
    """
    found: dict[str, FittedRepresentation] = {}
    layouts, blocks, encoders = list(plan.layouts), list(data.blocks), list(plan.encoders)
    cvs = [encoder.cv for encoder in plan.encoders if isinstance(encoder, EstimatorEncoder)]
    keys = None
    if groups is None:
        keys = row_keys(cvs, data, weight, seed_for(plan.seed, "folds"))
    for m, encoder in enumerate(plan.encoders):
        if not isinstance(encoder, EstimatorEncoder):
            continue
        name = plan.names[m]
        try:
            encoder._validate_params()
        except ValueError as error:
            raise InputError(f"modality {name!r}: {error}") from error
        seed = seed_for(plan.seed, "estimator", name)
        fitted, values = _cross_fit(
            encoder, blocks[m].read(), target, weight, kind, seed, keys, groups
        )
        found[name] = fitted
        blocks[m] = ModalityBlock(name, values, None, blocks[m].present)
        layouts[m] = ModalityLayout(name, (values.shape[1],), "float64")
        encoders[m] = IdentityEncoder()
    votes = (
        kind != "regression"
        and len(found) == len(plan.layouts)
        and all(part.method == "predict_proba" for part in found.values())
        and any(len(term) == 1 for term in plan.terms)
    )
    plan = replace(
        plan,
        layouts=tuple(layouts),
        encoders=tuple(encoders),
        votes=votes,
        linear=tuple(
            IdentityEncoder() if isinstance(linear, EstimatorEncoder) else linear
            for linear in plan.linear
        ),
    )
    return plan, ModalityData(blocks), found


def _cross_fit(
    encoder: EstimatorEncoder,
    block: ModalityBlock,
    target: npt.NDArray[Any],
    weight: Floats | None,
    kind: str,
    seed: int,
    keys: npt.NDArray[np.str_] | None,
    groups: npt.NDArray[np.intp] | None,
) -> tuple[FittedRepresentation, Floats]:
    """Return the estimator fitted to all rows, and the out-of-fold representation of each."""
    rows = np.arange(len(block.values))
    if block.present is not None:
        rows = rows[block.present]
    if weight is not None:
        # A row of weight zero is not there; it is represented like a new one.
        rows = rows[weight[rows] > 0]
    if isinstance(encoder.estimator, type):
        shown = encoder.estimator.__name__
        raise InputTypeError(
            f"modality {block.name!r}: EstimatorEncoder needs an estimator, got the class {shown}; "
            f"write {shown}()"
        )
    type_ = estimator_type(encoder.estimator)
    if kind == "regression" and type_ == "classifier" and encoder.method != "transform":
        raise InputTypeError(
            f"modality {block.name!r}: {type(encoder.estimator).__name__} is a classifier, and the "
            "target is a number; give a regressor"
        )
    inputs, y = flat_inputs(block), target
    if kind == "regression" and y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    shares, template = class_shares(target, weight, kind), seeded(clone(encoder.estimator), seed)

    def fitted_to(some: npt.NDArray[np.intp], method: str) -> Any:
        some_weight = None if weight is None else weight[some]
        with errors_of(block.name, template):
            return fit_to_target(clone(template), inputs[some], y[some], some_weight, kind, method)

    whole = fitted_to(rows, encoder.method)
    method = encoder.method_of(whole, block.name)
    seen = SeenTarget.of(kind, shares, y[rows])
    n_features = predictions(block.name, whole, method, inputs[rows[:1]], seen).shape[1]
    fitted = FittedRepresentation(encoder, whole, method, seen, n_features)
    values = fitted(block).values.astype(np.float64)
    if method != "transform":
        some_keys = None if keys is None else keys[rows]
        some_groups = None if groups is None else groups[rows]
        total, n_tests = np.zeros((len(rows), n_features)), np.zeros((len(rows), 1))
        parts = folds(
            encoder.cv, inputs[rows], y[rows], kind, seed, some_keys, some_groups, block.name
        )
        for train, test in parts:
            estimator = fitted_to(rows[train], method)
            seen = SeenTarget.of(kind, shares, y[rows[train]])
            total[test] += predictions(block.name, estimator, method, inputs[rows[test]], seen)
            n_tests[test] += 1
        values[rows] = total / n_tests
    return fitted, values


def flat_inputs(block: ModalityBlock) -> npt.NDArray[Any]:
    """Return what the estimator reads, (n, features)."""
    values = block.values
    if values.ndim != 3 or values.dtype == np.uint8:
        return values.reshape(len(values), -1)
    return sequence_summary(np.asarray(values, dtype=np.float64), block.lengths)


def sequence_summary(values: Floats, lengths: npt.NDArray[np.int64] | None) -> Floats:
    """Mean, deviation, minimum, maximum and last - first over the valid steps.

    Shape: values (n, T, d), lengths (n,) or None -> (n, 5 d).
    """
    steps = None if lengths is None else torch.tensor(lengths)
    # All five are homogeneous. In units of a power of two nothing is rounded, and the squares of
    # 1e300 or 1e-300 are numbers.
    largest = np.abs(values).max(axis=1, initial=0.0, where=np.isfinite(values))
    unit = np.ldexp(1.0, np.frexp(largest)[1] - 1)
    scaled = torch.tensor(values / unit[:, None])
    summary: Floats = SummaryModule(values.shape[2])(scaled, steps).numpy()
    return summary * np.tile(unit, 5)


def seeded(estimator: Any, seed: int) -> Any:
    """Set every ``random_state`` that is None."""
    parameters = estimator.get_params(deep=True)
    unset: Sequence[str] = sorted(
        key
        for key, value in parameters.items()
        if (key == "random_state" or key.endswith("__random_state")) and value is None
    )
    if unset:
        estimator.set_params(**{key: seed_for(seed, key) % 2**31 for key in unset})
    return estimator
