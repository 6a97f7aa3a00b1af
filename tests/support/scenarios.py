"""Scenarios of scikit-learn's tools around one classifier and one regressor of a family."""

import copy
import pickle
from dataclasses import dataclass

import joblib
import numpy as np
import pytest
from fleet import ESTIMATORS, small
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    BaggingClassifier,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    StratifiedGroupKFold,
    TimeSeriesSplit,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    permutation_test_score,
    train_test_split,
    validation_curve,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.utils import resample, shuffle

from sklearn_mmfusion import ModalityFrame

# Two epochs without polish, in one fit that chooses nothing, are enough to see whether the parts
# fit together.
ONE_FIT = {"early_stopping": True, "reg": 0.01}
N = 60
RNG = np.random.default_rng(0)
FRAME = ModalityFrame({"text": RNG.normal(size=(N, 4, 3)), "audio": RNG.normal(size=(N, 5))})
SIGNAL = FRAME["audio"][:, 0] + FRAME["text"][:, 0, 0]
BINARY = np.digitize(SIGNAL, [np.median(SIGNAL)])
THREE = np.digitize(SIGNAL, np.quantile(SIGNAL, [1 / 3, 2 / 3]))
TWO_TARGETS = np.column_stack([BINARY, FRAME["audio"][:, 1] > 0]).astype(int)
GROUPS = np.arange(N) // 4
BY_NAME = {cls.__name__: cls for cls in ESTIMATORS}


@dataclass
class Setting:
    """One container, and the estimators of one family that read it."""

    X: object
    modalities: dict | None
    family: str

    def classifier(self, **params):
        return self._small("Classifier", params)

    def probable(self, **params):
        """Return a classifier with probabilities."""
        model = self.classifier(**params)
        if hasattr(model, "predict_proba"):
            return model
        return CalibratedClassifierCV(model, cv=2, ensemble=False)

    def regressor(self, **params):
        return self._small("Regressor", params)

    def _small(self, kind, params):
        settings = ONE_FIT | {"modalities": self.modalities} | params
        return small(BY_NAME[f"{self.family}{kind}"], **settings)

    @property
    def grid(self):
        """Three values of one parameter of the classifier."""
        known = self.classifier().get_params()
        name = next(n for n in ("max_epochs", "C", "random_state") if n in known)
        return {name: [1, 2, 3]}


def setting(container, name="InTense"):
    """Return the setting of a container, "frame" or "matrix", and a family."""
    if container == "frame":
        return Setting(FRAME, None, name)
    return Setting(FRAME.to_2d(), FRAME.layout(), name)


def outputs(model, X):
    """Return probabilities, or what stands for them."""
    name = "predict_proba" if hasattr(model, "predict_proba") else "decision_function"
    return getattr(model, name)(X)


SCENARIOS = {}
NEED_AN_ARRAY = set()


def scenario(function):
    """Add a scenario to the table, by the name of its function."""
    SCENARIOS[function.__name__] = function
    return function


def needs_an_array(function):
    """Add a scenario whose tool turns X into an array."""
    NEED_AN_ARRAY.add(function.__name__)
    return scenario(function)


def _predicts(model, s, y):
    """Fit, predict, and check shape and finiteness."""
    predicted = model.fit(s.X, y).predict(s.X)
    assert predicted.shape == y.shape
    assert np.isfinite(predicted).all()


def _scores(model, s, y, **params):
    """Cross-validate, and check that every fold has a score."""
    scores = cross_val_score(model, s.X, y, error_score="raise", **{"cv": 2} | params)
    assert np.isfinite(scores).all()


# What never looks at X ----------------------------------------------------------------------


@scenario
def fit_and_predict(s):
    _predicts(s.classifier(), s, BINARY)


@scenario
def pipeline_fit(s):
    _predicts(make_pipeline("passthrough", s.classifier()), s, BINARY)


@scenario
def pipeline_with_memory(s, tmp_path):
    memory = joblib.Memory(tmp_path, verbose=0)
    _predicts(make_pipeline(FunctionTransformer(), s.classifier(), memory=memory), s, BINARY)


@scenario
def voting_classifier(s):
    members = [("a", s.probable()), ("b", s.probable(random_state=1))]
    _predicts(VotingClassifier(members, voting="soft"), s, BINARY)


@scenario
def voting_regressor(s):
    _predicts(VotingRegressor([("a", s.regressor()), ("b", s.regressor())]), s, SIGNAL)


@scenario
def multi_output_classifier(s):
    _predicts(MultiOutputClassifier(s.classifier()), s, TWO_TARGETS)


@scenario
def multi_output_regressor(s):
    targets = np.column_stack([SIGNAL, -SIGNAL])
    _predicts(MultiOutputRegressor(s.regressor()), s, targets)


@scenario
def roc_curve_display(s):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    from sklearn.metrics import RocCurveDisplay

    display = RocCurveDisplay.from_estimator(s.classifier().fit(s.X, BINARY), s.X, BINARY)
    pyplot.close(display.figure_)
    assert 0 <= np.asarray(display.roc_auc).item() <= 1


@scenario
def pickled(s):
    model, X = pickle.loads(pickle.dumps((s.classifier().fit(s.X, BINARY), s.X)))
    expected = outputs(s.classifier().fit(s.X, BINARY), s.X)
    np.testing.assert_array_equal(outputs(model, X), expected)


@scenario
def cloned(s):
    model = s.classifier().fit(s.X, BINARY)
    again = clone(model).fit(s.X, BINARY)
    np.testing.assert_array_equal(outputs(model, s.X), outputs(again, s.X))


@scenario
def deep_copied(s):
    model = s.classifier().fit(s.X, BINARY)
    X = copy.deepcopy(s.X)
    np.testing.assert_array_equal(outputs(copy.deepcopy(model), X), outputs(model, s.X))


# What splits X ------------------------------------------------------------------------------


@scenario
def cross_validate_(s):
    result = cross_validate(
        s.classifier(), s.X, BINARY, cv=2, return_train_score=True, error_score="raise"
    )
    assert np.isfinite(result["train_score"]).all()


@scenario
def cross_val_predict_(s):
    proba = cross_val_predict(s.probable(), s.X, BINARY, cv=2, method="predict_proba")
    assert proba.shape == (N, 2)


@scenario
def train_test_split_(s):
    train, test, y_train, _ = train_test_split(s.X, BINARY, random_state=0)
    assert s.classifier().fit(train, y_train).predict(test).shape == (N // 4,)


@scenario
def learning_curve_(s):
    _, _, scores = learning_curve(
        s.classifier(), s.X, BINARY, cv=2, train_sizes=[0.5, 1.0], error_score="raise"
    )
    assert np.isfinite(scores).all()


@scenario
def validation_curve_(s):
    _, scores = validation_curve(
        s.classifier(), s.X, BINARY, param_name=next(iter(s.grid)), param_range=[1, 2], cv=2,
        error_score="raise",
    )  # fmt: skip
    assert np.isfinite(scores).all()


@scenario
def permutation_test_score_(s):
    _, scores, p_value = permutation_test_score(
        s.classifier(), s.X, BINARY, cv=2, n_permutations=2, random_state=0
    )
    assert np.isfinite(scores).all()
    assert 0 < p_value <= 1


@scenario
def resample_and_shuffle(s):
    X, y = shuffle(*resample(s.X, BINARY, random_state=0), random_state=0)
    assert s.classifier().fit(X, y).predict(X).shape == (N,)


@scenario
def grid_search(s):
    search = GridSearchCV(s.classifier(), s.grid, cv=2, error_score="raise")
    _predicts(search, s, BINARY)


@scenario
def randomized_search(s):
    search = RandomizedSearchCV(
        s.classifier(), s.grid, n_iter=2, cv=2, random_state=0, error_score="raise"
    )  # fmt: skip
    _predicts(search, s, BINARY)


@scenario
def halving_search(s):
    search = HalvingGridSearchCV(
        s.classifier(), s.grid, cv=2, factor=2, min_resources=30, random_state=0,
        error_score="raise",
    )  # fmt: skip
    _predicts(search, s, BINARY)


@scenario
def nested_cross_validation(s):
    _scores(GridSearchCV(s.classifier(), s.grid, cv=2), s, BINARY)


@scenario
def stratified_group_k_fold(s):
    _scores(s.classifier(), s, BINARY, cv=StratifiedGroupKFold(2), groups=GROUPS)


@scenario
def time_series_split(s):
    _scores(s.regressor(), s, SIGNAL, cv=TimeSeriesSplit(2))


@scenario
def tuned_threshold(s):
    _predicts(TunedThresholdClassifierCV(s.classifier(), cv=2), s, BINARY)


@scenario
def calibrated(s):
    _predicts(CalibratedClassifierCV(s.classifier(), cv=2), s, BINARY)


@scenario
def calibrated_frozen(s):
    fitted = s.classifier().fit(s.X, BINARY)
    _predicts(CalibratedClassifierCV(FrozenEstimator(fitted)), s, BINARY)


@scenario
def stacking_classifier(s):
    _predicts(StackingClassifier([("a", s.classifier())], LogisticRegression(), cv=2), s, BINARY)


@scenario
def stacking_regressor(s):
    _predicts(StackingRegressor([("a", s.regressor())], Ridge(), cv=2), s, SIGNAL)


@scenario
def transformed_target_in_cross_validation(s):
    _scores(TransformedTargetRegressor(s.regressor(), func=np.exp, inverse_func=_log), s, SIGNAL)


def _log(values):
    return np.log(np.maximum(values, 1e-3))


@scenario
def pipeline_in_cross_validation(s):
    _scores(make_pipeline("passthrough", s.classifier()), s, BINARY)


@scenario
def function_transformer_in_cross_validation(s):
    _scores(make_pipeline(FunctionTransformer(), s.classifier()), s, BINARY)


@scenario
def function_transformer_with_pandas_output(s):
    transformer = FunctionTransformer().set_output(transform="pandas")
    with pytest.warns(UserWarning, match="set_output"):
        _predicts(make_pipeline(transformer, s.classifier()), s, BINARY)


@scenario
def one_vs_rest(s):
    _predicts(OneVsRestClassifier(s.classifier()), s, THREE)


@scenario
def permutation_importance_(s):
    model = s.classifier().fit(s.X, BINARY)
    result = permutation_importance(model, s.X, BINARY, n_repeats=2, random_state=0)
    assert result.importances.shape == (s.X.shape[1], 2)


@scenario
def permutation_importance_of_some_samples(s):
    model = s.classifier().fit(s.X, BINARY)
    result = permutation_importance(
        model, s.X, BINARY, n_repeats=2, max_samples=0.5, random_state=0
    )
    assert np.isfinite(result.importances).all()


@scenario
def array_api_dispatch(s):
    with config_context(array_api_dispatch=True):
        _scores(s.classifier(), s, BINARY)


# What turns X into an array -----------------------------------------------------------------


@needs_an_array
def bagging(s):
    _predicts(BaggingClassifier(s.classifier(), n_estimators=2, random_state=0), s, BINARY)


@needs_an_array
def one_vs_one(s):
    _predicts(OneVsOneClassifier(s.classifier()), s, THREE)


@needs_an_array
def self_training(s):
    partly = np.where(np.arange(N) % 3 == 0, -1, BINARY)
    _predicts(SelfTrainingClassifier(s.probable(), max_iter=2), s, partly)


@needs_an_array
def classifier_chain(s):
    # The chain appends the labels so far to X: an open slice takes them in.
    open_slice = None if s.modalities is None else s.modalities | {"audio": slice(12, None)}
    model = ClassifierChain(s.classifier(modalities=open_slice), random_state=0)
    _predicts(model, s, TWO_TARGETS)


@needs_an_array
def output_code(s):
    _predicts(OutputCodeClassifier(s.classifier(), code_size=2, random_state=0), s, THREE)


@needs_an_array
def stacking_with_passthrough(s):
    final = LogisticRegression()
    _predicts(StackingClassifier([("a", s.classifier())], final, cv=2, passthrough=True), s, BINARY)
