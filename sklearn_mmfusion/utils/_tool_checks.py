"""Checks that scikit-learn's tools work with the estimator and a ModalityFrame."""

import numpy as np
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.ensemble import StackingClassifier, StackingRegressor
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict, learning_curve
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_mmfusion._transformers import ModalityTransformer
from sklearn_mmfusion.data import ModalityFrame
from sklearn_mmfusion.utils._check_helpers import assert_same, fit, frozen, make_data, outputs

__all__ = ["CLASSIFIER_CHECKS", "REGRESSOR_CHECKS", "TOOL_CHECKS"]


def check_grid_search(estimator):
    """Check that GridSearchCV refits the best candidate as fit would, and predicts from a dict."""
    X, y = make_data(estimator)
    grid = {"random_state": [0, 1]} if "random_state" in estimator.get_params() else {}
    search = GridSearchCV(estimator, grid, cv=2).fit(ModalityFrame(X), y)
    assert np.isfinite(search.best_score_), "GridSearchCV: the best score is not finite"
    assert search.n_features_in_ == len(X), "GridSearchCV: n_features_in_ should count modalities"
    alone = fit(clone(estimator).set_params(**search.best_params_), X, y)
    assert_same(outputs(search, X), outputs(alone, X), "between GridSearchCV and fit")


def check_cross_val_predict(estimator):
    """Check that cross_val_predict gives the bits of fits on dicts that are split by hand."""
    X, y = make_data(estimator)
    splitter = KFold(2, shuffle=True, random_state=0)
    got = cross_val_predict(estimator, ModalityFrame(X), y, cv=splitter)
    expected = np.empty_like(got)
    for train, test in splitter.split(y):
        model = fit(estimator, {name: value[train] for name, value in X.items()}, y[train])
        expected[test] = model.predict({name: value[test] for name, value in X.items()})
    np.testing.assert_array_equal(got, expected, err_msg="cross_val_predict")


def check_learning_curve(estimator):
    """Check that learning_curve gives finite scores."""
    X, y = make_data(estimator)
    _, train, test = learning_curve(
        estimator,
        ModalityFrame(X),
        y,
        cv=2,
        train_sizes=[0.5, 1.0],
        shuffle=True,
        random_state=0,
        error_score="raise",
    )
    assert np.isfinite(train).all() and np.isfinite(test).all(), "learning_curve: not finite"


def check_permutation_importance(estimator):
    """Check that permutation_importance permutes whole modalities, and leaves the frame alone."""
    X, y = make_data(estimator)
    frame, _ = frozen(X, y)
    model = fit(estimator, X, y)
    result = permutation_importance(model, frame, y, n_repeats=2, random_state=0)
    assert result.importances.shape == (len(X), 2), "permutation_importance: one row per modality"
    assert np.isfinite(result.importances).all(), "permutation_importance: not finite"
    assert frame == X, "permutation_importance changed X"


def check_pipeline(estimator):
    """Check that a Pipeline with a ModalityTransformer can be fitted and searched over."""
    X, y = make_data(estimator)
    transformer = ModalityTransformer([("text", StandardScaler()), ("audio", PCA(2))])
    pipeline = make_pipeline(transformer, estimator)
    on_dict = clone(pipeline).fit(X, y).predict(X)
    transformed = clone(transformer).fit_transform(X)
    alone = fit(estimator, transformed, y).predict(transformed)
    np.testing.assert_array_equal(on_dict, alone, err_msg="Pipeline")
    grid = {"modalitytransformer__audio__n_components": [1, 2]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(ModalityFrame(X), y)
    assert len(search.predict(X)) == len(y), "GridSearchCV over a Pipeline"


def check_calibration(estimator):
    """Check that CalibratedClassifierCV gives probabilities."""
    X, y = make_data(estimator)
    frame = ModalityFrame(X)  # to predict as well: the calibration counts rows
    probabilities = CalibratedClassifierCV(estimator, cv=2).fit(frame, y).predict_proba(frame)
    assert probabilities.shape == (len(y), 2), "CalibratedClassifierCV: shape"
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, err_msg="CalibratedClassifierCV")


def check_stacking_classifier(estimator):
    """Check that StackingClassifier takes the estimator as a member."""
    X, y = make_data(estimator)
    model = StackingClassifier([("fusion", estimator)], LogisticRegression(), cv=2)
    predicted = model.fit(ModalityFrame(X), y).predict(X)
    assert set(predicted) <= set(y), "StackingClassifier: unknown labels"


def check_transformed_target(estimator):
    """Check that TransformedTargetRegressor equals a target transformed by hand, to 1e-7."""
    X, y = make_data(estimator)
    model = TransformedTargetRegressor(estimator, transformer=StandardScaler())
    got = model.fit(ModalityFrame(X), y).predict(X)
    scaler = StandardScaler().fit(y[:, None])
    alone = fit(estimator, X, scaler.transform(y[:, None])[:, 0]).predict(X)
    expected = scaler.inverse_transform(alone[:, None])[:, 0]
    np.testing.assert_allclose(got, expected, atol=1e-7, err_msg="TransformedTargetRegressor")


def check_stacking_regressor(estimator):
    """Check that StackingRegressor takes the estimator as a member."""
    X, y = make_data(estimator)
    model = StackingRegressor([("fusion", estimator)], Ridge(), cv=2)
    predicted = model.fit(ModalityFrame(X), y).predict(X)
    assert np.isfinite(predicted).all(), "StackingRegressor: not finite"


TOOL_CHECKS = (
    check_grid_search,
    check_cross_val_predict,
    check_learning_curve,
    check_permutation_importance,
    check_pipeline,
)
CLASSIFIER_CHECKS = (check_calibration, check_stacking_classifier)
REGRESSOR_CHECKS = (check_transformed_target, check_stacking_regressor)
